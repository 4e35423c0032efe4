"""From an image file of any size to the network's: grey, and stretched. What training does to its files."""

from dataclasses import dataclass

import numpy as np

from model.image_form import form_of_pixels
from service.codecs.preprocessing.errors import NotADigitError
from service.codecs.preprocessing.handwritten_digit import BLANK_MESSAGE, Prepared, is_blank
from service.codecs.preprocessing.image_files import Picture


@dataclass(frozen=True)
class Resize:
    """The preprocessing `resize` of a model package.

    Attributes:
        height: Of the network's images.
        width: Of the network's images.
    """

    height: int
    width: int

    @property
    def working_side(self) -> None:
        """Files are read as they are: scaled twice, they would not be what training saw."""
        return None

    def one(self, picture: Picture) -> Prepared:
        """Returns a picture as the network reads it.

        Raises:
            NotADigitError: The picture is blank.
        """
        grey, steps = form_of_pixels(picture.pixels, self.height, self.width)
        pixels = grey.astype(np.float32) / np.float32(255)
        if is_blank(pixels):
            raise NotADigitError(BLANK_MESSAGE)
        told = [step for step in picture.steps if step != "grey"]
        return Prepared(pixels, (*told, *steps))

    def all(self, picture: Picture) -> list[Prepared]:  # noqa: ARG002 (as every preprocessing has it)
        """Refuses to split a picture: this model takes it whole.

        Raises:
            NotADigitError: Always.
        """
        raise NotADigitError("the model's preprocessing takes a picture whole, so it cannot be split")
