"""How an image file of any size becomes grey pixels of a network's size, in training and in service alike.

The preprocessing `resize` of a package, and what reads the files that a network is trained on: one function,
so that a network is asked what it was taught. Pillow reads, numpy resizes: the same bits on every machine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_EXIF_ORIENTATION = 0x0112
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and OpenCV have it

Grey = NDArray[np.uint8]


def upright_on_paper(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Applies the camera's orientation and puts white behind what is transparent; tells what was done."""
    upright = ImageOps.exif_transpose(image) if image.getexif().get(_EXIF_ORIENTATION, 1) != 1 else image
    steps = ["turned upright"] if upright is not image else []
    if upright.has_transparency_data:
        # What is transparent shows the paper, and paper is white.
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright.convert("RGBA"))
        steps.append("transparent parts white")
    return upright, steps


def values_of(image: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Returns the pixels of an opaque image: (H, W), or (H, W, 3) for colours; 8 or 16 bits."""
    if image.mode.startswith("I"):
        return np.asarray(image).clip(0, 65535).astype(np.uint16)
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def in_form(image: Image.Image, height: int, width: int) -> Grey:
    """Returns an image as grey pixels (height, width) in 0..255.

    A grey image of this size is returned as it is. Other sizes are stretched to it.
    """
    upright, _ = upright_on_paper(image)
    return form_of_pixels(values_of(upright), height, width)[0]


def form_of_pixels(pixels: NDArray[Any], height: int, width: int) -> tuple[Grey, list[str]]:
    """Returns pixels as `in_form` does, and what was done to them, in words.

    Args:
        pixels: (H, W) or (H, W, 3), of 8 or 16 bits, or floats in [0, 1].
        height: What they are brought to.
        width: What they are brought to.
    """
    steps = []
    scale = 255.0 if pixels.dtype.kind == "f" else 1.0 if pixels.dtype == np.uint8 else 1 / 257
    grey = pixels.astype(np.float64) * scale
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            steps.append("grey")
        grey = grey @ np.array(_LUMA)
    if grey.shape != (height, width):
        steps.append(f"scaled from {grey.shape[0]}x{grey.shape[1]} to {height}x{width}")
        grey = resized(grey, height, width)
    return grey.round().clip(0, 255).astype(np.uint8), steps


def resized(grey: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Stretches an image (H, W) to (height, width), bilinear; where it shrinks, over all that it covers."""
    return _resampling(grey.shape[0], height) @ grey @ _resampling(grey.shape[1], width).T


def _resampling(old: int, new: int) -> NDArray[np.float64]:
    """Returns (new, old): a triangle over `old` pixels around the place of each new one, of sum 1."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(old) - centres[:, None]) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised
