"""Images in JSON: nested lists of numbers, or image files in base64; and the quick way to read lists.

The schema of a request makes a Python number of each pixel before one is looked at, a third of what a
prediction costs. `parse_number_lists` lets simdjson fill the array. Whatever is not plainly right is left to
the schema, which alone says what is wrong with a request (docs/decisions/0011).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from model.network_config import LARGEST_SIDE, SMALLEST_SIDE
from service.codecs.preprocessing import (
    BLANK_MESSAGE,
    NotADigitError,
    Picture,
    Prepared,
    Preprocessing,
    is_blank,
    read_base64,
    read_image_file,
)
from service.errors import invalid_at

try:
    from simdjson import Parser
except ImportError:  # no build for this Python: the schema reads everything
    _PARSER = None
else:
    _PARSER = Parser()

Images = NDArray[np.float32]

Pixel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Row = Annotated[list[Pixel], Field(min_length=SMALLEST_SIDE, max_length=LARGEST_SIDE)]
NestedImage = Annotated[
    list[Row],
    Field(
        min_length=SMALLEST_SIDE,
        max_length=LARGEST_SIDE,
        description="Rows of numbers in [0, 1], as many as the model takes; of digits, light on dark.",
    ),
]

# A larger body is parsed in a thread, and simdjson's parser, which also keeps room for its largest document,
# is not for several threads at once.
_MAX_BODY = 64 * 2**10
# What numbers and the space between them are made of. JSON without them shows how it is nested.
_NUMBERS = b"0123456789+-.eE \t\n\r"
_IMAGES, _MODEL, _VERSION = (name.translate(None, _NUMBERS) for name in (b"images", b"model", b"version"))
# An object of images and, before or after them, the strings `model` and `version`, without its numbers.
_STRING = rb'"(?:%b|%b)":"[^"\\\[\]]*"' % (_MODEL, _VERSION)
_OBJECT = re.compile(rb'\{(?:%b,)*"%b":(\[[^"]*\])(?:,%b)*\}' % (_STRING, _IMAGES, _STRING))
# The bits of floats from 0 to 1 are whole numbers in the same order; those of others, NaN too, are larger.
_BITS_OF_ONE = int(np.float64(1).view(np.uint64))


class FileImage(BaseModel):
    """A PNG, JPEG or WebP file, grey or colour, of any size."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: Annotated[
        str,
        Field(
            min_length=1,
            validation_alias=AliasChoices("image", "png"),
            description="The file in base64. The field may also be called `png`.",
        ),
    ]


InputImage = Annotated[NestedImage | FileImage, Field(union_mode="left_to_right")]


@dataclass(frozen=True)
class DecodedImages:
    """The images of a request.

    Attributes:
        images: (N, H, W) float32 in [0, 1].
        prepared: For each image how it was brought into form; None for numbers taken as they are.
        sources: If pictures were split: for each image the index of its picture in the request.
    """

    images: Images
    prepared: Sequence[Prepared | None]
    sources: Sequence[int] | None = None


class NumberLists(NamedTuple):
    """A request whose images are all lists of numbers: (N, H, W) float32 in [0, 1]."""

    images: Images
    model: str | None
    version: str | None


def parse_number_lists(body: bytes, max_images: int) -> NumberLists | None:
    """Returns a request of lists of numbers, at most `max_images`, None for any other body."""
    if _PARSER is None or len(body) > _MAX_BODY:
        return None
    form = _form(body.translate(None, _NUMBERS), max_images)
    if form is None:
        return None
    try:
        document: Any = _PARSER.parse(body)
        bits = np.frombuffer(document["images"].as_buffer(of_type="d"), np.uint64)
        names = {key: document[key] for key in document.keys() if key != "images"}  # noqa: SIM118
    except (ValueError, TypeError, RuntimeError, KeyError):
        return None
    right_names = names.keys() <= {"model", "version"} and len(names) == form.fields - 1  # none of them twice
    if not right_names or np.maximum.reduce(bits) > _BITS_OF_ONE:
        return None
    images = bits.view(np.float64).astype(np.float32).reshape(-1, form.height, form.width)
    if blank_images(images).size:
        return None
    return NumberLists(images, names.get("model"), names.get("version"))


class _Form(NamedTuple):
    fields: int
    height: int
    width: int


def _form(nesting: bytes, max_images: int) -> _Form | None:
    """Returns the form of an object that is `_OBJECT` with whole images of one size, else None."""
    found = _OBJECT.fullmatch(nesting)
    if found is None:
        return None
    images = found[1]
    count, first = images.count(b"[["), images.partition(b"]]")[0]
    height, width = first.count(b"[") - 2, first.partition(b"]")[0].count(b",") + 1
    if not 0 < count <= max_images or images != _nesting(count, height, width):
        return None
    return _Form(nesting.count(b'":'), height, width)


@lru_cache(maxsize=16)
def _nesting(images: int, height: int, width: int) -> bytes:
    row = b"[" + b"," * (width - 1) + b"]"
    return b"[%b]" % b",".join([b"[" + b",".join([row] * height) + b"]"] * images)


def blank_images(images: Images) -> NDArray[np.intp]:
    """Returns the indices of images (N, H, W) in which nothing stands out."""
    return np.flatnonzero(is_blank(images))


def refuse_blank(images: Images, field: list[str | int]) -> None:
    """Lets images (N, H, W) pass in which something stands out.

    Raises:
        InvalidInput: One is blank: the same rule as for files.
    """
    if (blank := blank_images(images)).size:
        raise invalid_at([*field, int(blank[0])], BLANK_MESSAGE)


def check_size(images: Images, form: Preprocessing, field: str = "images") -> None:
    """Lets images (N, H, W) pass that have the network's size.

    Raises:
        InvalidInput: They have another.
    """
    if images.shape[1:] != (form.height, form.width):
        raise invalid_at([field, 0], _wrong_size(images.shape[1:], form))


def _wrong_size(size: Sequence[int], form: Preprocessing) -> str:
    return (
        f"{size[0]} rows of {size[1]} numbers, where the model takes {form.height} rows of {form.width}; an "
        f"image file, or `preprocess`, may have any size"
    )


def decode_images(
    form: Preprocessing,
    images: Sequence[Any],
    max_images: int,
    max_pixels: int,
    field: str = "images",
    *,
    preprocess: bool = False,
    split: bool = False,
) -> DecodedImages:
    """Returns the images of a parsed request as one array.

    Args:
        form: The model's preprocessing.
        images: Each a `NestedImage` or a `FileImage`.
        max_images: More are refused.
        max_pixels: Files with more pixels are refused before they are unpacked.
        field: Where the images stand in the request.
        preprocess: Whether lists of numbers are brought into the network's form too, as files are.
        split: Whether a picture of several digits is one image for each.

    Raises:
        InvalidInput: There are more than `max_images`, one is blank or of another size than the network's,
            or a file cannot be read.
    """
    if len(images) > max_images:
        raise invalid_at([field], f"{len(images)} images are too many, at most {max_images} are allowed")
    if not (preprocess or split or any(isinstance(image, FileImage) for image in images)):
        pixels = np.stack([_array(image, [field, index], form) for index, image in enumerate(images)])
        refuse_blank(pixels, [field])
        return DecodedImages(pixels, [None] * len(images))
    read = [
        _read(form, image, [field, index], max_pixels, preprocess, split)
        for index, image in enumerate(images)
    ]
    found = _joined(read, split)
    if len(found.images) > max_images:
        raise invalid_at([field], f"they show {len(found.images)} signs, at most {max_images} are allowed")
    return found


def decode_file(
    form: Preprocessing, content: bytes, max_pixels: int, *, split: bool = False
) -> DecodedImages:
    """Returns the one image of a file, or with `split` each digit of it.

    Raises:
        InvalidInput: The file cannot be read, or shows no digit.
    """
    with _problem_at([]):
        found = _prepared(form, read_image_file(content, max_pixels, form.working_side), split)
    return _joined([found], split)


def _joined(read: Sequence[Sequence[Prepared | Images]], split: bool) -> DecodedImages:
    """Puts together what was read of each picture; numbers taken as they are are bare arrays."""
    found = [each for of_picture in read for each in of_picture]
    prepared = [each if isinstance(each, Prepared) else None for each in found]
    pixels = [each.pixels if isinstance(each, Prepared) else each for each in found]
    sources = [index for index, of_picture in enumerate(read) for _ in of_picture]
    return DecodedImages(np.stack(pixels), prepared, sources if split else None)


def _array(
    image: Sequence[Sequence[float]], place: list[str | int], form: Preprocessing | None = None
) -> Images:
    """Returns (H, W), of the form's size if one is given."""
    height, width = len(image), len(image[0])
    if uneven := next((index for index, row in enumerate(image) if len(row) != width), 0):
        raise invalid_at([*place, uneven], f"{len(image[uneven])} numbers; the rows above have {width}")
    if form is not None and (height, width) != (form.height, form.width):
        raise invalid_at(place, _wrong_size((height, width), form))
    # Checked lists need not be searched for their shape as np.array would.
    return np.fromiter(chain.from_iterable(image), np.float32, height * width).reshape(height, width)


def _read(
    form: Preprocessing,
    image: FileImage | Sequence[Sequence[float]],
    place: list[str | int],
    max_pixels: int,
    preprocess: bool,
    split: bool,
) -> Sequence[Prepared | Images]:
    if isinstance(image, FileImage):
        with _problem_at(place):
            return _prepared(form, read_base64(image.image, max_pixels, form.working_side), split)
    pixels = _array(image, place, None if preprocess else form)
    with _problem_at(place):
        if preprocess:
            return _prepared(form, Picture(pixels), split)
        if is_blank(pixels):
            raise NotADigitError(BLANK_MESSAGE)
    return [pixels]


def _prepared(form: Preprocessing, picture: Picture, split: bool) -> list[Prepared]:
    return form.all(picture) if split else [form.one(picture)]


@contextmanager
def _problem_at(place: list[str | int]) -> Iterator[None]:
    try:
        yield
    except NotADigitError as error:
        raise invalid_at(place, str(error), error.boxes) from None
