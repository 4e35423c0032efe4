"""Maps of an explanation drawn as PNG files."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SCALE = 4  # screen pixels a pixel


def grey_png(values: NDArray[np.float32]) -> str:
    """Draws a map of values >= 0: black is 0, white the largest. Returns base64."""
    top = float(values.max()) or 1.0
    return _png(np.repeat((values / top * 255).clip(0, 255)[..., None], 3, axis=2))


def signed_png(values: NDArray[np.float32]) -> str:
    """Draws a signed map: white is 0, red speaks for, blue against. Returns base64."""
    strength = (values / (float(np.abs(values).max()) or 1.0))[..., None]
    fade = 255 * (1 - np.abs(strength))
    red = np.where(strength >= 0, 255.0, fade)
    blue = np.where(strength <= 0, 255.0, fade)
    return _png(np.concatenate([red, fade, blue], axis=2))


def _png(rgb: NDArray[np.floating]) -> str:
    large = rgb.astype(np.uint8).repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(large).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
