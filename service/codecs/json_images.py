"""Images in JSON: nested lists of numbers, or image files in base64; and the quick way to read lists.

The schema of a request makes a Python number of each pixel before one is looked at, a third of what a
prediction costs. `parse_number_lists` lets simdjson fill the array. Whatever is not plainly right is left to
the schema, which alone says what is wrong with a request (docs/decisions/0011).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate, chain
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.budgets import RequestBudgets
from service.codecs.preprocessing import (
    MNIST_FORM,
    SIDE,
    NotADigitError,
    decode_base64,
    pixel_count,
    read_image_file,
)
from service.errors import TooManyImages, TooManyPixels, invalid_at

try:
    from simdjson import Parser
except ImportError:  # no build for this Python: the schema reads everything
    _PARSER = None
else:
    _PARSER = Parser()

Images = NDArray[np.float32]

Pixel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# A list is left at its first error: millions of them cost gigabytes.
Row = Annotated[list[Pixel], Field(fail_fast=True, min_length=SIDE, max_length=SIDE)]
NestedImage = Annotated[
    list[Row],
    Field(
        fail_fast=True,
        min_length=SIDE,
        max_length=SIDE,
        description="28 rows of 28 numbers in [0, 1], light on dark.",
    ),
]

# Images with fewer pixels in all are decoded on the event loop; more in pieces of about so many.
_QUICK_PIXELS = 2**16
_PIECE_PIXELS = 2**21
# A larger body is parsed in a thread, and simdjson's parser, which also keeps room for its largest document,
# is not for several threads at once.
_MAX_SHARED = 64 * 2**10
# What numbers and the space between them are made of. JSON without them shows how it is nested.
_NUMBERS = b"0123456789+-.eE \t\n\r"
_ROW = b"[" + b"," * (SIDE - 1) + b"]"
_IMAGE = b"[" + b",".join([_ROW] * SIDE) + b"]"
_IMAGES, _MODEL, _VERSION = (name.translate(None, _NUMBERS) for name in (b"images", b"model", b"version"))
# An object of images and, before or after them, the strings `model` and `version`, without its numbers.
_STRING = rb'"(?:%b|%b)":"[^"\\\[\]]*"' % (_MODEL, _VERSION)
_OBJECT = re.compile(rb'\{(?:%b,)*"%b":(\[[^"]*\])(?:,%b)*\}' % (_STRING, _IMAGES, _STRING))
# The bits of floats from 0 to 1 are whole numbers in the same order; those of others, NaN too, are larger.
_BITS_OF_ONE = int(np.float64(1).view(np.uint64))


class PngImage(BaseModel):
    """A PNG file of one digit, grey or colour, of any size."""

    model_config = ConfigDict(extra="forbid", strict=True)

    png: Annotated[str, Field(min_length=1, description="The file in base64.")]


InputImage = Annotated[NestedImage | PngImage, Field(union_mode="left_to_right")]


@dataclass(frozen=True)
class DecodedImages:
    """The images of a request.

    Attributes:
        images: (N, 28, 28) float32 in [0, 1].
        preprocessed: For each image the steps that brought a file into MNIST's form; None for a list.
    """

    images: Images
    preprocessed: Sequence[list[str] | None]


class NumberLists(NamedTuple):
    """A request whose images are all lists of numbers: (N, 28, 28) float32 in [0, 1]."""

    images: Images
    model: str | None
    version: str | None


def parse_number_lists(body: bytes, max_images: int) -> NumberLists | None:
    """Returns a request of lists of numbers, at most `max_images`, None for any other body."""
    if _PARSER is None:
        return None
    parser = _PARSER if len(body) <= _MAX_SHARED else Parser()
    fields = _count_fields(body.translate(None, _NUMBERS), max_images)
    if fields == 0:
        return None
    try:
        document: Any = parser.parse(body)
        bits = np.frombuffer(document["images"].as_buffer(of_type="d"), np.uint64)
        names = {key: document[key] for key in document.keys() if key != "images"}  # noqa: SIM118
    except (ValueError, TypeError, RuntimeError, KeyError):
        return None
    right_names = names.keys() <= {"model", "version"} and len(names) == fields - 1  # none of them twice
    if not right_names or np.maximum.reduce(bits) > _BITS_OF_ONE:
        return None
    images = bits.view(np.float64).astype(np.float32).reshape(-1, SIDE, SIDE)
    return NumberLists(images, names.get("model"), names.get("version"))


def _count_fields(nesting: bytes, max_images: int) -> int:
    """Returns how many fields an object has that is `_OBJECT` with whole images, 0 for anything else."""
    found = _OBJECT.fullmatch(nesting)
    if found is None:
        return 0
    count = found[1].count(b"[[")
    if not 0 < count <= max_images or found[1] != _nesting(count):
        return 0
    return nesting.count(b'":')


@lru_cache(maxsize=16)
def _nesting(images: int) -> bytes:
    return b"[%b]" % b",".join([_IMAGE] * images)


class OpenedImages:
    """The images of a request, their number and the sizes of their files checked, nothing unpacked yet.

    Args:
        images: Each a `NestedImage`, a `PngImage` or the content of a file.
        max_images: More are refused.
        budgets: Files with more pixels are refused before they are unpacked.
        field: Where the images stand in the request; empty where the body is the file.

    Raises:
        TooManyImages: There are more than `max_images`.
        TooManyPixels: A file, or all of them, have more pixels than `budgets` allow.
        InvalidInput: A file is not in base64.
    """

    def __init__(
        self, images: Sequence[Any], max_images: int, budgets: RequestBudgets, field: str = "images"
    ) -> None:
        if len(images) > max_images:
            message = f"{len(images)} images are too many, at most {max_images} are allowed"
            raise invalid_at([field], message, TooManyImages)
        self._field, self._most = field, budgets.max_png_pixels
        self._images = [self._open(index, image) for index, image in enumerate(images)]
        self._pixels = [pixel_count(image) if isinstance(image, bytes) else SIDE**2 for image in self._images]
        for index, (pixels, so_far) in enumerate(zip(self._pixels, accumulate(self._pixels), strict=True)):
            self._check(index, pixels, budgets.max_png_pixels)
            self._check(index, so_far, budgets.max_pixels)

    @property
    def are_quick(self) -> bool:
        """Whether they are unpacked in less time than a thread takes to be asked."""
        return sum(self._pixels) <= _QUICK_PIXELS

    def pieces(self) -> Iterator[Callable[[], DecodedImages]]:
        """Returns the work of decoding in pieces of about the same number of pixels."""
        start = pixels = 0
        for index, more in enumerate(self._pixels):
            if index > start and pixels + more > _PIECE_PIXELS:
                yield partial(self._decode, start, index)
                start, pixels = index, 0
            pixels += more
        yield partial(self._decode, start, len(self._images))

    def decode(self) -> DecodedImages:
        """Decodes all of them here.

        Raises:
            InvalidInput: A file cannot be read.
        """
        return self._decode(0, len(self._images))

    def _open(self, index: int, image: Any) -> Any:  # noqa: ANN401 (see the class)
        if not isinstance(image, PngImage):
            return image
        try:
            return decode_base64(image.png)
        except NotADigitError as error:
            raise invalid_at(self._place(index), str(error)) from None

    def _check(self, index: int, pixels: int, most: int) -> None:
        if pixels > most:
            message = f"{pixels} pixels are too many, {most} are allowed"
            raise invalid_at(self._place(index), message, TooManyPixels)

    def _place(self, index: int) -> list[str | int]:
        return [self._field, index, "png"] if self._field else []

    def _decode(self, start: int, end: int) -> DecodedImages:
        images = self._images[start:end]
        if not any(isinstance(image, bytes) for image in images):
            return DecodedImages(_array(images), [None] * len(images))
        read = [self._decode_one(start + offset, image) for offset, image in enumerate(images)]
        return DecodedImages(np.stack([image for image, _ in read]), [steps for _, steps in read])

    def _decode_one(self, index: int, image: Any) -> tuple[Images, list[str] | None]:  # noqa: ANN401
        if not isinstance(image, bytes):
            return _array([image])[0], None
        try:
            prepared = MNIST_FORM.one(read_image_file(image, self._most))
        except NotADigitError as error:
            raise invalid_at(self._place(index), str(error)) from None
        return prepared.pixels, list(prepared.steps)


def joined(pieces: Sequence[DecodedImages]) -> DecodedImages:
    """Returns the images of pieces as those of one request."""
    if len(pieces) == 1:
        return pieces[0]
    steps = [each for piece in pieces for each in piece.preprocessed]
    return DecodedImages(np.concatenate([piece.images for piece in pieces]), steps)


def _array(images: Sequence[Any]) -> Images:
    """Returns (N, 28, 28); checked lists need not be searched for their shape as np.array would."""
    rows = chain.from_iterable(images)
    pixels = np.fromiter(chain.from_iterable(rows), np.float32, len(images) * SIDE * SIDE)
    return pixels.reshape(-1, SIDE, SIDE)
