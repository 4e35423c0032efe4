"""How an image file of any size becomes grey pixels of a network's size, in training and in service alike.

The preprocessing `resize` of a package, and what reads the files that a network is trained on: one function,
so that a network is asked what it was taught. Pillow reads, numpy resizes: the same bits on every machine.
"""

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


def in_form(image: Image.Image, height: int, width: int) -> tuple[Grey, list[str]]:
    """Returns an image as grey pixels (height, width) in 0..255, and what was done to it, in words.

    A grey image of this size is returned as it is. Other sizes are stretched to it.
    """
    upright, steps = upright_on_paper(image)
    if upright.mode.startswith("I"):  # 16 bits
        grey = np.asarray(upright).clip(0, 65535) / 257.0
        steps.append("8 bits")
    elif upright.mode in ("1", "L"):
        grey = np.asarray(upright.convert("L")).astype(np.float64)
    else:
        colours = np.asarray(upright.convert("RGB"))
        grey = colours @ np.array(_LUMA)
        if (colours != colours[..., :1]).any():
            steps.append("grey")
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
