"""What a model answers, whichever it is."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from model.attacks.settings import Norm
from model.package import Label
from service.codecs.serialization import JSONObject

Pixels = NDArray[np.floating]


class Answer(NamedTuple):
    """One answer.

    Attributes:
        item: What is said of the image, in the form that the service answers in; pictures are drawn from it.
        document: What `--json` prints.
    """

    item: JSONObject
    document: JSONObject


class AskedAttack(NamedTuple):
    """Which attack is asked for.

    Attributes:
        attack: Its name.
        norm: Of the ball.
        epsilon: Radius of the ball.
        seed: Of all randomness.
    """

    attack: str
    norm: Norm
    epsilon: float
    seed: int


class AskedModel(Protocol):
    """A model that answers for one image file at a time."""

    def predict(self, file: bytes, picture: bool) -> Answer:
        """Says what an image shows; with what a picture needs if one is wanted."""

    def seen(self, file: bytes) -> Pixels:
        """Returns what the network sees of an image file."""

    def explain(self, file: bytes, picture: bool) -> Answer:
        """Says why."""

    def figure(self, file: bytes) -> str:
        """Returns the composed figure of the explanation, SVG."""

    def attack(self, file: bytes, label: str | None, wanted: AskedAttack) -> Answer:
        """Looks for an image near this one that the model takes for something else."""

    def epsilon(self) -> float:
        """Returns the radius of the L-inf ball that the model is judged at, where none is named."""

    def certify(self, file: bytes, label: str | None, epsilon: float) -> Answer:
        """Proves that no image within epsilon is taken for something else, or shows one that is."""


class UnknownLabelError(ValueError):
    """The model does not know the label."""


def known_label(text: str, labels: Sequence[Label]) -> Label:
    """Returns the label of a model that is written so on a command line: 3 may be a number or a word.

    Raises:
        UnknownLabelError: There is none.
    """
    known = {str(each): each for each in labels}
    if text not in known:
        raise UnknownLabelError(f"The model tells {', '.join(known)} apart, not {text}.")
    return known[text]
