"""From a photograph of a hand-written digit to what the network reads: MNIST's form.

MNIST's own procedure (LeCun 1998): light on dark, the digit scaled to fit a box of 20 x 20 with its aspect
ratio kept, then placed so that its centre of mass is the centre of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from service.codecs.preprocessing.components import Candidate, most_salient, signs
from service.codecs.preprocessing.cutting import Sign
from service.codecs.preprocessing.errors import Box, NotADigitError
from service.codecs.preprocessing.image_files import WORKING_SIDE, Picture
from service.codecs.preprocessing.ink import Ink, ink_on_background, is_light_on_dark

Grey = NDArray[np.float32]

cv2.setNumThreads(1)  # a picture is small, and requests are many

# An image in which no two pixels differ by more is blank.
BLANK = 0.1
BLANK_MESSAGE = "the image is blank: nothing stands out from its background"
# The closing's window, as a share of the shorter side: narrow, and wide enough for a marker's strokes.
_NARROW, _WIDE = 0.12, 0.35
# The wide window is right if it finds this much more ink as dark as the narrow one's.
_MORE_INK = 1.2
# So many signs are a page of text.
_PAGE = 12
# Pictures with a shorter longer side are enlarged first.
_SMALLEST_WORKING_SIDE = 200
# A file of the network's size is taken as it is if its centre of mass is at most this far from the centre,
# and its longer side differs from the box by at most a fifth.
_CENTRED = 1.25


def is_blank(pixels: Grey) -> NDArray[np.bool_]:
    """Whether nothing in an image stands out: the one rule for files and for numbers.

    Args:
        pixels: One image (H, W), or several (N, H, W).
    """
    blank: NDArray[np.bool_] = pixels.max(axis=(-2, -1)) - pixels.min(axis=(-2, -1)) < np.float32(BLANK)
    return blank


class Prepared(NamedTuple):
    """An image as the network reads it.

    Attributes:
        pixels: (height, width) in [0, 1].
        steps: What was done, in words; none for an image taken as it is.
        box: Where the digit was found in the file, None for an image taken as it is.
    """

    pixels: Grey
    steps: tuple[str, ...]
    box: Box | None = None


class _Found(NamedTuple):
    signs: list[Sign]
    scale: float
    steps: tuple[str, ...]


@dataclass(frozen=True)
class HandwrittenDigit:
    """The preprocessing `handwritten-digit` of a model package.

    Attributes:
        height: Of the network's images.
        width: Of the network's images.
        box: The digit's longer side in it.
    """

    height: int
    width: int
    box: int

    @property
    def working_side(self) -> int:
        """The longer side of the largest picture that is worked on."""
        return WORKING_SIDE

    def one(self, picture: Picture) -> Prepared:
        """Returns the digit of a picture.

        Raises:
            NotADigitError: The picture is blank, or shows more than one sign; the error holds their boxes.
        """
        ready = self._in_form(picture)
        if ready is not None:
            return ready
        found = _find(picture)
        if len(found.signs) > 1:
            raise NotADigitError(_too_many(found.signs), _boxes(found))
        return self._prepared(found)[0]

    def all(self, picture: Picture) -> list[Prepared]:
        """Returns every digit of a picture in reading order: rows from the top, each from the left.

        Raises:
            NotADigitError: The picture is blank, or a page of text.
        """
        ready = self._in_form(picture)
        if ready is not None:
            return [ready]
        found = _find(picture)
        if len(found.signs) > _PAGE:
            raise NotADigitError(_too_many(found.signs), _boxes(found))
        return self._prepared(found)

    def _prepared(self, found: _Found) -> list[Prepared]:
        steps = (*found.steps, f"scaled to {self.box}x{self.box}", "centred by mass")
        images = [self._centred(self._boxed(sign.cover)) for sign in found.signs]
        boxes = _boxes(found)
        return [Prepared(image, steps, box) for image, box in zip(images, boxes, strict=True)]

    def _in_form(self, picture: Picture) -> Prepared | None:
        """Returns a grey file of the network's size, in MNIST's form, None for any other picture."""
        if picture.pixels.shape != (self.height, self.width):
            return None
        grey = picture.in_unit_range()
        lowest, highest = _extremes(grey)
        if np.float32(highest) - np.float32(lowest) < np.float32(BLANK):  # as `is_blank` has it
            raise NotADigitError(BLANK_MESSAGE)
        background = _background(grey)
        steps = picture.steps
        expected = background > 0.5
        inverted = _is_dark_on_light(highest - background, background - lowest, expected)
        if inverted:
            grey, steps, background = np.float32(1) - grey, (*steps, "inverted"), 1 - background
            highest = _extremes(grey)[1]
        digit = _cropped(grey, background, highest)
        is_like_training = background > 0.05 or abs(max(digit.shape) - self.box) <= self.box / 5
        if inverted == expected and is_like_training and self._is_centred(grey):
            return Prepared(grey, steps)
        if max(digit.shape) != self.box:
            digit, steps = self._boxed(digit), (*steps, f"scaled to {self.box}x{self.box}")
        return Prepared(self._centred(digit), (*steps, "centred by mass"))

    def _is_centred(self, grey: Grey) -> bool:
        y, x = _centre_of_mass(grey)
        return abs(y - self.height / 2) <= _CENTRED and abs(x - self.width / 2) <= _CENTRED

    def _boxed(self, cover: Ink) -> Grey:
        height, width = cover.shape
        scale = self.box / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        resized: Grey = cv2.resize(cover, size, interpolation=how)
        return resized.clip(0, 1)

    def _centred(self, digit: Grey) -> Grey:
        height, width = digit.shape
        y, x = _centre_of_mass(digit)
        top = int(np.clip(round(self.height / 2 - y), 0, self.height - height))
        left = int(np.clip(round(self.width / 2 - x), 0, self.width - width))
        canvas = np.zeros((self.height, self.width), np.float32)
        canvas[top : top + height, left : left + width] = digit
        return canvas


def _centre_of_mass(digit: Grey) -> tuple[float, float]:
    moments = cv2.moments(digit)
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


def _background(grey: Grey) -> float:
    """Returns the median of the border; numpy's own takes ten times as long for so few pixels."""
    border = np.sort(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]))
    return float(border[len(border) // 2 - 1] + border[len(border) // 2]) / 2


def _extremes(grey: Grey) -> tuple[float, float]:
    """Returns the lowest and the highest value."""
    lowest, highest, *_places = cv2.minMaxLoc(grey)
    return lowest, highest


def _is_dark_on_light(lighter: float, darker: float, expected: bool) -> bool:
    """Tells whether the ink is darker than its background: as expected, unless only the other stands out.

    Args:
        lighter: By how much the lightest pixel is lighter than the background.
        darker: By how much the darkest is darker.
        expected: What a background of this lightness has on it.
    """
    as_expected, other = (darker, lighter) if expected else (lighter, darker)
    return expected if as_expected >= min(BLANK, other) else not expected


def _cropped(grey: Grey, background: float, highest: float) -> Grey:
    """Cuts out all that stands out from the background, which becomes 0, and the highest value 1."""
    lifted = grey
    if background or highest != 1:
        lifted = (grey - np.float32(background)) / np.float32(max(highest - background, 1e-6))
        lifted = np.maximum(lifted, np.float32(0))
    mask = lifted > np.float32(BLANK if background else 0)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return lifted[top : top + height, left : left + width]


def _find(picture: Picture) -> _Found:
    """Finds the signs of a picture; of two backgrounds, the one that shows all of the ink."""
    pixels = picture.as_bytes()
    steps = picture.steps
    scale = max(1, -(-_SMALLEST_WORKING_SIDE // max(pixels.shape[:2])))
    if scale > 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    if is_light_on_dark(pixels):
        pixels = cv2.bitwise_not(pixels).astype(np.uint8, copy=False)
    else:
        steps = (*steps, "inverted")
    found = _signs_of(pixels, touching=False) or _signs_of(pixels, touching=True)
    if not found:
        raise NotADigitError(BLANK_MESSAGE)
    return _Found(found, picture.reduced / scale, (*steps, "background removed"))


def _signs_of(pixels: NDArray[np.uint8], touching: bool) -> list[Sign]:
    narrow, wide = ink_on_background(pixels, (_NARROW, _WIDE))
    first = most_salient(narrow, touching)
    found: list[Sign] = []
    if first is None or _is_wider(narrow, wide, first):
        second = most_salient(wide, touching)
        found = signs(wide, second, wide, touching) if second is not None else []
    if first is not None and not found:
        found = signs(narrow, first, wide, touching)
    return found


def _is_wider(narrow: Ink, wide: Ink, first: Candidate) -> bool:
    box = first.box
    window = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    few, many = (np.count_nonzero(ink[window] > 0.75 * first.ink) for ink in (narrow, wide))
    return bool(many >= _MORE_INK * few)


def _boxes(found: _Found) -> list[Box]:
    return [Box(*(round(value * found.scale) for value in sign.box)) for sign in found.signs]


def _too_many(found: Sequence[Sign]) -> str:
    if len(found) > _PAGE:
        return f"{len(found)} signs were found: a page of text, or no picture of a digit"
    return f"{len(found)} signs were found side by side, where one digit is expected"
