"""Where signs are: connected components of ink, found at several thresholds.

Ruled lines, frames, shadows and the edge of a table reach the edge of the picture; specks are small. What is
left and stands out most, by size and by contrast, is the first sign. Others count if they are about as tall
and as dark.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from service.codecs.preprocessing.cutting import Sign, cut_out
from service.codecs.preprocessing.errors import Box
from service.codecs.preprocessing.grouping import in_reading_order, joined, with_pieces
from service.codecs.preprocessing.ink import Ink

# The lowest threshold: this much ink, and this many standard deviations of the paper's noise.
_LEAST_INK = 0.05
_NOISE_DEVIATIONS = 4
# A sign is at least this dark inside; one that touches the edge of the picture, where the light falls, this
# dark, and it spans this share of the picture.
_LEAST_DARK, _LEAST_DARK_AT_EDGE, _LEAST_SPAN_AT_EDGE = 0.15, 0.25, 0.85
# Strokes are at most this wide, as a share of a sign's size.
_MOST_STROKE = 0.4
# So far from a sign, as a share of its size, is at most this share of its ink.
_FADED, _MOST_INK_AROUND = 0.12, 0.2
_THRESHOLDS = 1.7 ** np.arange(6)
# A sign's longer side is at least this share of the picture's shorter side.
_LEAST_SIDE = 0.06
# The outline of a sign lies where its ink is half as dark as inside.
_OUTLINE = 0.5
# What spans so much of the picture both ways is a frame.
_FRAME = 0.85
# Another sign is at least this tall and wide, as a share of the tallest, and this dark.
_SIGN_HEIGHT = 0.45
_SIGN_INK = 0.6


@dataclass(frozen=True)
class Candidate:
    """A component that may be a sign.

    Attributes:
        salience: How much it stands out.
        box: Where it is.
        inside: (N,), the ink of its pixels.
    """

    salience: float
    box: Box
    inside: Ink

    @cached_property
    def ink(self) -> float:
        """How dark it is inside. Of dozens of candidates few are asked."""
        return float(np.quantile(self.inside, 0.8))


class _Labelled(NamedTuple):
    """Connected components: their labels (H, W), and for each a row (left, top, width, height, area)."""

    labels: NDArray[np.int32]
    rows: NDArray[np.int32]


def most_salient(ink: Ink, touching: bool = False) -> Candidate | None:
    """Returns the component that stands out most at any threshold, None on blank paper.

    Args:
        ink: (H, W).
        touching: Look among those that touch the edge of the picture, too.
    """
    half = cv2.resize(
        ink, (max(1, ink.shape[1] // 2), max(1, ink.shape[0] // 2)), interpolation=cv2.INTER_AREA
    )
    paper = half[::2, ::2]
    middle = float(np.median(paper))
    noise = 1.4826 * float(np.median(np.abs(paper - middle)))
    least = max(_LEAST_INK, middle + _NOISE_DEVIATIONS * noise)
    found = [c for t in least * _THRESHOLDS for c in _candidates(half, float(t), touching)]
    least_dark = max(_LEAST_DARK_AT_EDGE if touching else _LEAST_DARK, 2 * least)
    found.sort(key=lambda candidate: -candidate.salience)
    return next((c for c in found if c.ink >= least_dark and _is_drawn(half, c)), None)


def _is_drawn(half: Ink, candidate: Candidate) -> bool:
    """Whether it has strokes with paper a little beside them: what a lamp draws is round and fades slowly."""
    left, top, width, height = (value // 2 for value in candidate.box)
    away = 1 + _FADED * max(width, height)
    margin = int(away) + 4
    window = half[max(top - margin, 0) : top + height + margin, max(left - margin, 0) : left + width + margin]
    outside = (window <= _OUTLINE * candidate.ink).view(np.uint8)
    if not outside.any():
        return False
    inside = cv2.distanceTransform(1 - outside, cv2.DIST_L2, 3)
    if 4 * float(inside.sum()) > _MOST_STROKE * max(width, height) * np.count_nonzero(inside):
        return False
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 3)
    ring = (distance > away) & (distance < away + 3)
    return not ring.any() or float(window[ring].mean()) < _MOST_INK_AROUND * candidate.ink


def _candidates(half: Ink, threshold: float, touching: bool) -> list[Candidate]:
    labels, rows = _components(half > threshold)
    sides = rows[:, 2:4].max(axis=1)
    chosen = (sides >= _LEAST_SIDE * min(half.shape)) & (rows[:, 4] >= 12)
    if touching:
        chosen &= (rows[:, 2:4] >= _LEAST_SPAN_AT_EDGE * np.array(half.shape[::-1])).any(axis=1)
    else:
        chosen &= ~_goes_around(rows, half.shape)
    chosen[0] = False
    candidates = []
    for label in np.flatnonzero(chosen):
        left, top, width, height, area = (int(value) for value in rows[label])
        window = slice(top, top + height), slice(left, left + width)
        inside = half[window][labels[window] == label]
        salience = float(inside.mean()) * np.sqrt(np.hypot(width, height) * np.sqrt(area))
        box = Box(2 * left, 2 * top, 2 * width, 2 * height)
        candidates.append(Candidate(salience, box, inside))
    return candidates


def _components(mask: NDArray[np.bool_]) -> _Labelled:
    _, labels, rows, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    return _Labelled(labels.astype(np.int32, copy=False), rows.astype(np.int32, copy=False))


def _goes_around(rows: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    left, top, width, height = rows[:, :4].T
    touches = (left == 0) | (top == 0) | (left + width == shape[1]) | (top + height == shape[0])
    frames = (width >= _FRAME * shape[1]) & (height >= _FRAME * shape[0])
    around: NDArray[np.bool_] = touches | frames
    return around


def signs(ink: Ink, first: Candidate, around: Ink, touching: bool = False) -> list[Sign]:
    """Returns the first sign and all that are about as tall and as dark, in reading order.

    Args:
        ink: (H, W).
        first: The candidate that stands out most.
        around: (H, W), the same by a wider window: what reaches the picture's edge in it is no other sign.
        touching: The first sign may touch the edge of the picture.
    """
    threshold = _OUTLINE * first.ink
    labels, rows = _components(ink > threshold)
    usable = ~_goes_around(rows, ink.shape) | touching
    usable[0] = False
    main = _component_in(first.box, rows, usable)
    if main is None:
        return []
    others = usable & _may_be_sign(rows, tallest=max(rows[main, 2:4]))
    others[main] = False
    others &= not touching
    if others.any():
        others &= _share_of(_reaching_edge(around > threshold), labels, len(rows)) < 0.5
    dark = [
        label for label in np.flatnonzero(others).tolist() if _is_dark(ink, labels, rows, label, first.ink)
    ]
    groups = with_pieces(joined([main, *dark], rows), rows, np.flatnonzero(usable))
    return [cut_out(ink, labels, rows, group) for group in in_reading_order(groups, rows)]


def _reaching_edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, rows = _components(mask)
    reaching = _goes_around(rows, mask.shape)
    reaching[0] = False
    return reaching[labels]


def _share_of(mask: NDArray[np.bool_], labels: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Returns for each label the share of its pixels that lie in a mask."""
    inside = np.bincount(labels[mask], minlength=count)
    return inside / np.maximum(np.bincount(labels.ravel(), minlength=count), 1)


def _component_in(box: Box, rows: NDArray[np.int32], usable: NDArray[np.bool_]) -> int | None:
    """Returns the largest component that overlaps a box."""
    left, top, width, height = rows[:, :4].T
    across = np.minimum(left + width, box.left + box.width) - np.maximum(left, box.left)
    down = np.minimum(top + height, box.top + box.height) - np.maximum(top, box.top)
    area = np.where(usable & (across > 0) & (down > 0), rows[:, 4], 0)
    return int(area.argmax()) if area.any() else None


def _may_be_sign(rows: NDArray[np.int32], tallest: int) -> NDArray[np.bool_]:
    large: NDArray[np.bool_] = (rows[:, 3] >= _SIGN_HEIGHT * tallest) & (rows[:, 4] >= 0.012 * tallest**2)
    return large


def _is_dark(ink: Ink, labels: NDArray[np.int32], rows: NDArray[np.int32], label: int, dark: float) -> bool:
    left, top, width, height, _ = rows[label]
    window = slice(top, top + height), slice(left, left + width)
    inside = ink[window][labels[window] == label]
    return float(np.quantile(inside, 0.8)) >= _SIGN_INK * dark
