"""What preprocessing refuses."""

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels of the file as it is seen, upright."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height} at {self.left}, {self.top}"


class NotADigitError(ValueError):
    """The bytes cannot be read as an image of one digit; the message says why.

    Attributes:
        boxes: Where signs were found, in reading order; empty if none were.
    """

    def __init__(self, message: str, boxes: Sequence[Box] = ()) -> None:
        super().__init__(message + "".join(f"; {box}" for box in boxes))
        self.boxes = tuple(boxes)
