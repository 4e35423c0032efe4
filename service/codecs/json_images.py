"""Images in JSON: nested lists of numbers, or image files in base64."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from model.network_config import LARGEST_SIDE, SMALLEST_SIDE
from service.budgets import RequestBudgets
from service.codecs.preprocessing import (
    BLANK_MESSAGE,
    NotADigitError,
    Picture,
    Prepared,
    Preprocessing,
    decode_base64,
    is_blank,
    pixel_count,
    read_image_file,
)
from service.errors import TooManyImages, TooManyPixels, invalid_at

Images = NDArray[np.float32]

Pixel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
# A list is left at its first error: millions of them cost gigabytes.
Row = Annotated[list[Pixel], Field(fail_fast=True, min_length=SMALLEST_SIDE, max_length=LARGEST_SIDE)]
NestedImage = Annotated[
    list[Row],
    Field(
        fail_fast=True,
        min_length=SMALLEST_SIDE,
        max_length=LARGEST_SIDE,
        description="Rows of numbers in [0, 1], as many as the model takes; of digits, light on dark.",
    ),
]

# Images with fewer pixels in all are decoded on the event loop; more in pieces of about so many.
_QUICK_PIXELS = 2**13
_PIECE_PIXELS = 2**21


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

    def part(self, start: int, end: int) -> "DecodedImages":
        """Returns the images from `start` up to `end`."""
        sources = None if self.sources is None else self.sources[start:end]
        return DecodedImages(self.images[start:end], self.prepared[start:end], sources)


def refuse_blank(images: Images, field: list[str | int], first: int = 0) -> None:
    """Lets images (N, H, W) pass in which something stands out.

    Args:
        images: The images.
        field: Where they stand in the request.
        first: The place of the first of them there.

    Raises:
        InvalidInput: One is blank: the same rule as for files.
    """
    if (blank := np.flatnonzero(is_blank(images))).size:
        raise invalid_at([*field, first + int(blank[0])], BLANK_MESSAGE)


def check_size(images: NDArray[Any], form: Preprocessing, field: str = "images") -> None:
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


class OpenedImages:
    """The images of a request, their number and the sizes of their files checked, nothing unpacked yet.

    Args:
        form: The model's preprocessing.
        images: Each a `NestedImage`, a `FileImage` or the content of a file.
        max_images: More are refused.
        budgets: Files with more pixels are refused before they are unpacked.
        field: Where the images stand in the request; empty where the body is the file.
        preprocess: Whether lists of numbers are brought into the network's form too, as files are.
        split: Whether a picture of several digits is one image for each.

    Raises:
        TooManyImages: There are more than `max_images`.
        TooManyPixels: A file, or all of them, have more pixels than `budgets` allow.
        InvalidInput: A file is not in base64.
    """

    def __init__(
        self,
        form: Preprocessing,
        images: Sequence[Any],
        max_images: int,
        budgets: RequestBudgets,
        field: str = "images",
        *,
        preprocess: bool = False,
        split: bool = False,
    ) -> None:
        self._form, self._field, self._most_images = form, field, max_images
        self._preprocess, self._split, self._most_pixels = preprocess, split, budgets.max_png_pixels
        if len(images) > max_images:
            message = f"{len(images)} images are too many, at most {max_images} are allowed"
            raise invalid_at([field], message, TooManyImages)
        self._images = [self._open(index, image) for index, image in enumerate(images)]
        of_list = form.height * form.width
        self._pixels = [pixel_count(image) if isinstance(image, bytes) else of_list for image in self._images]
        for index, (pixels, so_far) in enumerate(zip(self._pixels, accumulate(self._pixels), strict=True)):
            self._check(index, pixels, budgets.max_png_pixels)
            self._check(index, so_far, budgets.max_pixels)

    @property
    def are_quick(self) -> bool:
        """Whether they are unpacked in less time than a thread takes to be asked."""
        return sum(self._pixels) <= _QUICK_PIXELS

    def pieces(self) -> Iterator[Callable[[], DecodedImages]]:
        """Returns the work of decoding in pieces of about the same number of pixels; `join` ends it."""
        start = pixels = 0
        for index, more in enumerate(self._pixels):
            if index > start and pixels + more > _PIECE_PIXELS:
                yield partial(self._decode, start, index)
                start, pixels = index, 0
            pixels += more
        yield partial(self._decode, start, len(self._images))

    def join(self, pieces: Sequence[DecodedImages]) -> DecodedImages:
        """Returns the images of all pieces.

        Raises:
            TooManyImages: Pictures that were split show more than are allowed.
        """
        count = sum(len(piece.images) for piece in pieces)
        if count > self._most_images:
            message = f"they show {count} signs, at most {self._most_images} are allowed"
            raise invalid_at([self._field], message, TooManyImages)
        if len(pieces) == 1:
            return pieces[0]
        prepared = [each for piece in pieces for each in piece.prepared]
        sources = [each for piece in pieces for each in piece.sources or ()]
        pixels = np.concatenate([piece.images for piece in pieces])
        return DecodedImages(pixels, prepared, sources if self._split else None)

    def decode(self) -> DecodedImages:
        """Decodes all of them here.

        Raises:
            InvalidInput: One is blank or of another size than the network's, or a file cannot be read.
        """
        return self.join([self._decode(0, len(self._images))])

    def _open(self, index: int, image: Any) -> Any:  # noqa: ANN401 (see the class)
        if not isinstance(image, FileImage):
            return image
        with _problem_at(self._place(index)):
            return decode_base64(image.image)

    def _check(self, index: int, pixels: int, most: int) -> None:
        if pixels > most:
            message = f"{pixels} pixels are too many, {most} are allowed"
            raise invalid_at(self._place(index), message, TooManyPixels)

    def _place(self, index: int) -> list[str | int]:
        return [self._field, index] if self._field else []

    def _decode(self, start: int, end: int) -> DecodedImages:
        images = self._images[start:end]
        if not (self._preprocess or self._split or any(isinstance(image, bytes) for image in images)):
            pixels = np.stack(
                [_array(image, self._place(index), self._form) for index, image in enumerate(images, start)]
            )
            refuse_blank(pixels, [self._field], start)
            return DecodedImages(pixels, [None] * len(images))
        read = [self._read(index, image) for index, image in enumerate(images, start)]
        found = [each for of_picture in read for each in of_picture]
        prepared = [each if isinstance(each, Prepared) else None for each in found]
        pixels = np.stack([each.pixels if isinstance(each, Prepared) else each for each in found])
        sources = [index for index, of_picture in enumerate(read, start) for _ in of_picture]
        return DecodedImages(pixels, prepared, sources if self._split else None)

    def _read(self, index: int, image: Any) -> Sequence[Prepared | Images]:  # noqa: ANN401
        place = self._place(index)
        if isinstance(image, bytes):
            with _problem_at(place):
                return self._prepared(read_image_file(image, self._most_pixels, self._form.working_side))
        pixels = _array(image, place, None if self._preprocess else self._form)
        with _problem_at(place):
            if self._preprocess:
                return self._prepared(Picture(pixels))
            if is_blank(pixels):
                raise NotADigitError(BLANK_MESSAGE)
        return [pixels]

    def _prepared(self, picture: Picture) -> list[Prepared]:
        return self._form.all(picture) if self._split else [self._form.one(picture)]


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


@contextmanager
def _problem_at(place: list[str | int]) -> Iterator[None]:
    try:
        yield
    except NotADigitError as error:
        raise invalid_at(place, str(error), boxes=error.boxes) from None
