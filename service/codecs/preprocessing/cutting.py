"""Cutting a sign out of the ink around it, its strokes as thick as MNIST's at least."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.codecs.preprocessing.errors import Box
from service.codecs.preprocessing.ink import Ink

# Strokes of a pen thinner than this share of the sign's size are thickened.
_LEAST_STROKE = 0.13
# The cover rises from 0 to 1 between these shares of the ink inside: about as soft as MNIST's edges.
_FADE = 0.3, 0.8


@dataclass(frozen=True)
class Sign:
    """A sign, cut out.

    Attributes:
        box: Where it is in the picture.
        cover: (height, width) in [0, 1], how much of each pixel its ink covers, 0 where other ink is.
    """

    box: Box
    cover: Ink


def cut_out(ink: Ink, labels: NDArray[np.int32], rows: NDArray[np.int32], group: list[int]) -> Sign:
    """Returns the sign that a group of labelled components makes."""
    left, top = rows[group, :2].min(axis=0)
    right, bottom = (rows[group, :2] + rows[group, 2:4]).max(axis=0)
    box = Box(int(left), int(top), int(right - left), int(bottom - top))
    window = slice(top, bottom), slice(left, right)
    own, inside = np.isin(labels[window], group).view(np.uint8), ink[window]
    dark = np.quantile(inside[own > 0], 0.7)
    edge = max(1, round(0.03 * max(box.width, box.height)))
    near = cv2.dilate(own, np.ones((2 * edge + 1, 2 * edge + 1), np.uint8))
    cover = np.clip((inside / dark - _FADE[0]) / (_FADE[1] - _FADE[0]), 0, 1) * near
    return Sign(box, _thickened(cover.astype(np.float32), own))


def _thickened(cover: Ink, own: NDArray[np.uint8]) -> Ink:
    """Returns the cover of a thin pen's strokes as if a pen as thick as MNIST's had drawn them."""
    size = max(own.shape)
    inside = cv2.distanceTransform(cv2.copyMakeBorder(own, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    width = 4 * float(inside[inside > 0].mean()) - 1
    lacks = round((_LEAST_STROKE * size - width) / 2)
    if lacks < 1:
        return cover
    padded = cv2.copyMakeBorder(cover, lacks, lacks, lacks, lacks, cv2.BORDER_CONSTANT)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * lacks + 1, 2 * lacks + 1))
    thick: Ink = cv2.dilate(padded, disc)
    return thick
