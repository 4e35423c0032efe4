"""Reads an image file, PNG, JPEG or WebP, into upright pixels of a size worth working on."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.image_form import upright_on_paper, values_of
from service.codecs.preprocessing.errors import NotADigitError

FORMATS = ("PNG", "JPEG", "WEBP")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
# A photograph is scaled down until its longer side has this many pixels: enough for a digit of a tenth of it.
WORKING_SIDE = 512
# What each value of 8 bits is in [0, 1].
_UNIT_RANGE = np.arange(256, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class Picture:
    """An image file's content.

    Attributes:
        pixels: (H, W) if it is grey, else (H, W, 3); 8 or 16 bits, or numbers in [0, 1].
        steps: What was done to it so far, in words.
        reduced: How many pixels of the file, along each axis, became one.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
    steps: tuple[str, ...] = ()
    reduced: float = 1.0

    def in_unit_range(self) -> NDArray[np.float32]:
        """Returns the pixels in [0, 1]."""
        if self.pixels.dtype == np.uint8:
            return _UNIT_RANGE[self.pixels]
        if self.pixels.dtype == np.uint16:
            return self.pixels.astype(np.float32) / np.float32(65535)
        return self.pixels.astype(np.float32)

    def as_bytes(self) -> NDArray[np.uint8]:
        """Returns the pixels with 8 bits."""
        if self.pixels.dtype == np.uint8:
            return self.pixels.astype(np.uint8, copy=False)
        if self.pixels.dtype == np.uint16:
            return (self.pixels // 256).astype(np.uint8)
        return (self.pixels * 255).round().astype(np.uint8)


def decode_base64(text: str) -> bytes:
    """Returns the content of a file in base64.

    Raises:
        NotADigitError: It is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # its subclass binascii.Error, or letters beyond ASCII
        raise NotADigitError(f"not base64: {error}") from error


def pixel_count(content: bytes) -> int:
    """Returns how many pixels a file says that it has, 0 if it is no readable image; unpacks nothing."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # `read_image_file` says what is wrong with it
        return 0


def read_image_file(content: bytes, max_pixels: int, working_side: int | None = WORKING_SIDE) -> Picture:
    """Reads a PNG, JPEG or WebP file; of an animation, the first picture.

    The camera's orientation (EXIF) is applied, what is transparent shows white paper, 16 bits are kept.

    Args:
        content: The file.
        max_pixels: Refuse larger images before unpacking them.
        working_side: Scale larger images down until their longer side has so many pixels.

    Raises:
        NotADigitError: Not a readable image of one of `FORMATS`, or too large.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            size = image.size
            if size[0] * size[1] > max_pixels:
                raise NotADigitError(f"{size[0]} x {size[1]} pixels are too many, {max_pixels} are allowed")
            if image.format == "JPEG" and working_side:  # unpacks a large one at 1/2, 1/4 or 1/8 of its size
                image.draft(None, (working_side, working_side))
            image.load()
            return picture_of(image, working_side, max(size))
    except NotADigitError:
        raise
    except UnidentifiedImageError:  # its message names a Python object
        found = "these bytes are none of these files" if content else "the file is empty"
        raise NotADigitError(f"not a readable PNG, JPEG or WebP: {found}") from None
    except Exception as error:  # Pillow raises many kinds for a broken file; all mean the same here
        raise NotADigitError(f"not a readable PNG, JPEG or WebP: {error}") from error


def picture_of(
    image: Image.Image, working_side: int | None = WORKING_SIDE, longest: int | None = None
) -> Picture:
    """Returns the upright picture of an opened image, as `read_image_file` does of a file.

    Args:
        image: Of any mode.
        working_side: As for `read_image_file`.
        longest: The longer side of the file in pixels, if the image was already reduced.
    """
    upright, steps = upright_on_paper(image)
    if upright.mode not in ("1", "L") and not upright.mode.startswith("I"):
        steps.append("grey")
    pixels = _reduced(_grey_if_it_is(values_of(upright)), working_side)
    return Picture(pixels, tuple(steps), (longest or max(image.size)) / max(pixels.shape[:2]))


def _grey_if_it_is(pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns one channel of colours that are all grey."""
    if pixels.ndim == 2:
        return pixels
    first, second, third = cv2.split(pixels)
    return first if np.array_equal(first, second) and np.array_equal(second, third) else pixels


def _reduced(pixels: NDArray[Any], working_side: int | None) -> NDArray[Any]:
    if working_side is None or max(pixels.shape[:2]) <= working_side:
        return pixels
    scale = working_side / max(pixels.shape[:2])
    reduced: NDArray[Any] = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return reduced
