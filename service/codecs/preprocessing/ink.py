"""From a picture to how much ink covers each pixel, whatever the light and the colours.

The background is what a closing leaves: strokes narrower than its window vanish from it, light that falls,
shadows and the table stay. What a pixel lacks of its background is ink. Of the three colours the
combination is taken in which the strongest ink stands out most.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Ink = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# The background is sought at a quarter of the size: smooth enough to be free of noise, cheap.
_COARSE = 4
_SMOOTHING = (5, 5)
# Strokes are darker or lighter than what is within a window of this share of the shorter side.
_AROUND = 0.3
# The strongest share of all pixels tells the colour of ink.
_STRONGEST = 0.005
# Darker paper counts as this bright: its noise is no ink.
_DARKEST_PAPER = np.uint8(40)


def is_light_on_dark(picture: Bytes) -> bool:
    """Whether strokes are lighter than what surrounds them: the sign of the skewness around the local mean.

    An edge of a shadow or a table is as far above the mean on one side as below it on the other; strokes
    are few and far from it.
    """
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    coarse = _coarse(grey).astype(np.float32)
    window = int(min(coarse.shape) * _AROUND) | 1
    above = coarse - cv2.blur(coarse, (window, window))
    return float((above * above * above).sum()) > 0  # ** 3 takes ten times as long


def ink_on_background(picture: Bytes, windows: Sequence[float]) -> Iterator[Ink]:
    """Yields for each window (H, W), 0 for background, about 1 for black ink.

    Args:
        picture: (H, W) or (H, W, 3), dark ink on light.
        windows: Widths of the closing as shares of the shorter side; wider strokes are lost.
    """
    soft = cv2.GaussianBlur(picture, _SMOOTHING, 0)
    coarse = _coarse(soft)
    for window in windows:
        background = _background(coarse, window, picture.shape)
        paper = np.maximum(background, _DARKEST_PAPER)
        lacking = cv2.divide(cv2.subtract(background, soft), paper, scale=255)
        yield _in_ink_colour(lacking.astype(np.uint8, copy=False))


def _background(coarse: Bytes, window: float, shape: tuple[int, ...]) -> Bytes:
    side = max(3, int(min(coarse.shape[:2]) * window) | 1)
    closed = cv2.morphologyEx(coarse, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    background: Bytes = cv2.resize(cv2.GaussianBlur(closed, _SMOOTHING, 0), (shape[1], shape[0]))
    return background


def _coarse(picture: Bytes) -> Bytes:
    height, width = picture.shape[:2]
    size = max(8, width // _COARSE), max(8, height // _COARSE)
    coarse: Bytes = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return coarse


def _in_ink_colour(lacking: Bytes) -> Ink:
    """Returns the projection of what each colour lacks, (H, W, 3), on what the strongest ink lacks."""
    if lacking.ndim == 2:
        return lacking.astype(np.float32) / np.float32(255)
    sample = lacking[::4, ::4].reshape(-1, 3).astype(np.float32)
    total = sample.sum(axis=1)
    strongest = sample[total >= np.quantile(total, 1 - _STRONGEST)].mean(axis=0)
    weights = strongest / max(float(np.square(strongest).sum()), 1.0) * strongest.max() / 255
    ink: Ink = cv2.transform(lacking.astype(np.float32), weights[None])
    return ink
