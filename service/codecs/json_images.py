"""Images in JSON: nested lists of numbers, or image files in base64; and the quick way to read lists.

The schema of a request makes a Python number of each pixel before one is looked at, a third of what a
prediction costs. `parse_number_lists` lets simdjson fill the array. Whatever is not plainly right is left to
the schema, which alone says what is wrong with a request (docs/decisions/0011).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.codecs.preprocessing import MNIST_FORM, SIDE, NotADigitError, read_base64, read_image_file
from service.errors import invalid_at

try:
    from simdjson import Parser
except ImportError:  # no build for this Python: the schema reads everything
    _PARSER = None
else:
    _PARSER = Parser()

Images = NDArray[np.float32]

Pixel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Row = Annotated[list[Pixel], Field(min_length=SIDE, max_length=SIDE)]
NestedImage = Annotated[
    list[Row],
    Field(min_length=SIDE, max_length=SIDE, description="28 rows of 28 numbers in [0, 1], light on dark."),
]

# A larger body is parsed in a thread, and simdjson's parser, which also keeps room for its largest document,
# is not for several threads at once.
_MAX_BODY = 64 * 2**10
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
    if _PARSER is None or len(body) > _MAX_BODY:
        return None
    fields = _count_fields(body.translate(None, _NUMBERS), max_images)
    if fields == 0:
        return None
    try:
        document: Any = _PARSER.parse(body)
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


def decode_images(
    images: Sequence[Any], max_images: int, max_pixels: int, field: str = "images"
) -> DecodedImages:
    """Returns the images of a parsed request as one array.

    Args:
        images: Each a `NestedImage` or a `PngImage`.
        max_images: More are refused.
        max_pixels: Files with more pixels are refused before they are unpacked.
        field: Where the images stand in the request.

    Raises:
        InvalidInput: There are more than `max_images`, or a file cannot be read.
    """
    if len(images) > max_images:
        raise invalid_at([field], f"{len(images)} images are too many, at most {max_images} are allowed")
    if not any(isinstance(image, PngImage) for image in images):
        return DecodedImages(_array(images), [None] * len(images))
    read = [_decode(image, [field, index, "png"], max_pixels) for index, image in enumerate(images)]
    return DecodedImages(np.stack([image for image, _ in read]), [steps for _, steps in read])


def decode_file(content: bytes, max_pixels: int) -> DecodedImages:
    """Returns the one image of a file.

    Raises:
        InvalidInput: The file cannot be read.
    """
    try:
        prepared = MNIST_FORM.one(read_image_file(content, max_pixels))
    except NotADigitError as error:
        raise invalid_at([], str(error)) from None
    return DecodedImages(prepared.pixels[None], [list(prepared.steps)])


def _array(images: Sequence[Any]) -> Images:
    """Returns (N, 28, 28); checked lists need not be searched for their shape as np.array would."""
    rows = chain.from_iterable(images)
    pixels = np.fromiter(chain.from_iterable(rows), np.float32, len(images) * SIDE * SIDE)
    return pixels.reshape(-1, SIDE, SIDE)


def _decode(
    image: PngImage | Sequence[Sequence[float]], place: list[str | int], max_pixels: int
) -> tuple[Images, list[str] | None]:
    if not isinstance(image, PngImage):
        return _array([image])[0], None
    try:
        prepared = MNIST_FORM.one(read_base64(image.png, max_pixels))
    except NotADigitError as error:
        raise invalid_at(place, str(error)) from None
    return prepared.pixels, list(prepared.steps)
