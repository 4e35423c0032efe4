"""What a data source holds: labelled images as they were found, before any class or split is chosen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.network_config import LARGEST_SIDE, SMALLEST_SIDE, Label
from training.data.dataset import DataError, Split

# Classes whose sizes differ by more are reported.
_IMBALANCE = 5


@dataclass(frozen=True)
class LabelledImages:
    """Grey images and the label of each.

    Attributes:
        images: (N, H, W) in 0..255.
        targets: (N,) whole numbers or names.
    """

    images: NDArray[np.uint8]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Content:
    """Everything that a data source holds.

    Attributes:
        name: What it is called, "Fashion-MNIST" or the name of a folder.
        parts: The splits that the source itself has; at least "train".
        labels: All classes, in their own order.
        notes: What the user should know: files that could not be read, say.
    """

    name: str
    parts: dict[Split, LabelledImages]
    labels: tuple[Label, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.parts["train"].images.shape[1:]
        return height, width


def check_size(size: tuple[int, int], where: object) -> None:
    """Raises DataError if images of this size are too small or too large for a network."""
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise DataError(
            f"The images of {where} have {size[0]} x {size[1]} pixels (height x width); networks are made "
            f"for sides of {SMALLEST_SIDE} to {LARGEST_SIDE}. Name another size, such as --size 32x32."
        )


def labels_of(targets: NDArray[Any]) -> tuple[Label, ...]:
    """Returns the labels that occur, in order."""
    return tuple(np.unique(targets).tolist())


def picked(content: Content, classes: Sequence[str] | None) -> tuple[Label, ...]:
    """Returns the classes that were asked for, in the order they were named, or else all.

    Args:
        content: Of the data source.
        classes: As on the command line: names, or numbers of classes where the data has them.

    Raises:
        DataError: There is no such class, or fewer than two were named.
    """
    if classes is None:
        found = content.labels
    else:
        known = {str(index): label for index, label in enumerate(content.labels)}
        known |= {str(label): label for label in content.labels}  # a name comes before a number
        if missing := [name for name in classes if name not in known]:
            names = ", ".join(str(label) for label in content.labels)
            raise DataError(f"{content.name} has no class {missing[0]!r}; it has {names}.")
        found = tuple(dict.fromkeys(known[name] for name in classes))
    if len(found) < 2:
        raise DataError(f"{content.name}: a network tells at least two classes apart, not {len(found)}.")
    return found


def report_on_classes(content: Content, labels: Sequence[Label], least: int) -> list[str]:
    """Returns what the user should know of the classes' sizes.

    Raises:
        DataError: A class has fewer than `least` images in its training part.
    """
    counts = Counter(content.parts["train"].targets.tolist())
    for label in labels:
        if counts[label] < least:
            images = "1 image" if counts[label] == 1 else f"{counts[label]} images"
            raise DataError(
                f"The class {label!r} of {content.name} has {images}; at least {least} are needed, for "
                f"training and for what is held out. Add some, or leave the class out with --classes."
            )
    few, many = (choose(labels, key=lambda label: counts[label]) for choose in (min, max))
    if counts[many] > _IMBALANCE * counts[few]:
        return [
            f"Classes are unequal: {counts[many]:,} images of {many!r}, {counts[few]:,} of {few!r}. A "
            f"network may neglect the small ones; look at the accuracy of each."
        ]
    return []
