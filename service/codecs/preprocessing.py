"""From a PNG of a hand-written digit to what the network reads: 28 x 28 in MNIST's form.

MNIST's own procedure (LeCun 1998): light on dark, the digit scaled to fit 20 x 20 with its aspect ratio
kept, then placed so that its centre of mass is the centre of the 28 x 28 image.
"""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Grey = NDArray[np.float32]

SIDE = 28
_BOX = 20
# A pixel darker than this, as a share of the brightest, is background.
_INK = 0.1


class NotADigitError(ValueError):
    """The bytes cannot be read as an image of a digit; the message says why."""


def digit_from_base64(text: str, max_pixels: int) -> tuple[Grey, list[str]]:
    """Decodes base64 and reads the PNG in it; see `digit_from_png`."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:  # its subclass binascii.Error, or letters beyond ASCII
        raise NotADigitError(f"not base64: {error}") from error
    return digit_from_png(content, max_pixels)


def digit_from_png(content: bytes, max_pixels: int) -> tuple[Grey, list[str]]:
    """Reads a PNG, grey or colour, of any size, and brings it into MNIST's form.

    A grey 28 x 28 image, light on dark, is taken as it is.

    Args:
        content: The PNG file.
        max_pixels: Refuse larger images before unpacking them.

    Returns:
        (28, 28) in [0, 1] and the steps that were applied, none for an image taken as it is.

    Raises:
        NotADigitError: Not a PNG, too large, or blank.
    """
    grey, steps = _grey(content, max_pixels)
    if np.median(_border(grey)) > 0.5:
        grey, steps = np.float32(1) - grey, [*steps, "inverted"]
    if grey.shape == (SIDE, SIDE) and not steps:
        return grey, steps
    if grey.max() - grey.min() < _INK:
        raise NotADigitError("the image is blank: nothing stands out from its background")
    boxed = _scale_to_box(_crop(grey))
    return _centre_by_mass(boxed), [*steps, "scaled to 20x20", "centred by mass"]


def _grey(content: bytes, max_pixels: int) -> tuple[Grey, list[str]]:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height > max_pixels:
                raise NotADigitError(
                    f"{image.width} x {image.height} pixels are too many, {max_pixels} are allowed"
                )
            image.load()
            return _as_grey(image)
    except NotADigitError:
        raise
    except UnidentifiedImageError:  # its message names a Python object
        found = "these bytes are no PNG file" if content else "the file is empty"
        raise NotADigitError(f"not a readable PNG: {found}") from None
    except Exception as error:  # Pillow raises many kinds for a broken file; all mean the same here
        raise NotADigitError(f"not a readable PNG: {error}") from error


def _as_grey(image: Image.Image) -> tuple[Grey, list[str]]:
    if image.mode in ("1", "L"):
        return _shares(image.convert("L"), 255), []
    if image.mode in ("I", "I;16"):
        return _shares(image, 65535), []
    # What is transparent shows the paper, and paper is white.
    paper = Image.new("RGBA", image.size, "white")
    opaque = Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
    return _shares(opaque, 255), ["grey"]


def _shares(image: Image.Image, top: int) -> Grey:
    return np.asarray(image, np.float32) / np.float32(top)


def _border(grey: Grey) -> Grey:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _crop(grey: Grey) -> Grey:
    """Cuts out the digit: all that stands out from the background, which becomes 0."""
    background = np.median(_border(grey))
    lifted: Grey = np.clip((grey - background) / (grey.max() - background + np.float32(1e-6)), 0, 1)
    rows, columns = np.nonzero(lifted > _INK)
    return lifted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _scale_to_box(digit: Grey) -> Grey:
    height, width = digit.shape
    scale = _BOX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(digit).resize(size, Image.Resampling.BOX if scale < 1 else None)
    return np.asarray(resized, np.float32)


def _centre_by_mass(digit: Grey) -> Grey:
    height, width = digit.shape
    mass = digit.sum()
    centre_y = (digit.sum(axis=1) @ np.arange(height)) / mass
    centre_x = (digit.sum(axis=0) @ np.arange(width)) / mass
    top = int(np.clip(round((SIDE - 1) / 2 - centre_y), 0, SIDE - height))
    left = int(np.clip(round((SIDE - 1) / 2 - centre_x), 0, SIDE - width))
    canvas = np.zeros((SIDE, SIDE), np.float32)
    canvas[top : top + height, left : left + width] = digit
    return canvas.clip(0, 1)
