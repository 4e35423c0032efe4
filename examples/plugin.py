"""A plugin with one of each: a data source, an objective, a recipe and an attack (docs/plugins.md).

whitebox train --plugin examples/plugin.py --recipe smoothed --data digits.csv
"""

from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.attacks.budget import margins
from model.attacks.catalogue import ATTACKS, AttackKind
from model.attacks.registry import Target
from model.attacks.settings import AttackSettings
from training.data import DATA_SOURCES, Content, DataError, LabelledImages, Reader, own_size
from training.objectives import OBJECTIVES, Objective
from training.recipes import PAPER, RECIPES


def read_csv(path: Path) -> Content:
    """Reads a line an image: its label, then its pixels in 0..255, row by row, of a square image."""
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path} is not a table of whole numbers below a line of names: {error}.") from error
    targets, pixels = table[:, 0], table[:, 1:]
    side = isqrt(pixels.shape[1])
    images = pixels.reshape(len(pixels), side, side).astype(np.uint8)
    labels = tuple(np.unique(targets).tolist())
    return Content(path.stem, {"train": LabelledImages(images, targets)}, labels)


DATA_SOURCES.add(Reader("csv", lambda path: path.suffix == ".csv", own_size(read_csv)))


@OBJECTIVES.add
@dataclass(frozen=True)
class SmoothedLabels(Objective):
    """Cross-entropy with labels that are not quite certain (Szegedy et al. 2016)."""

    smoothing: float = 0.1

    def loss(
        self, network: nn.Module, images: Tensor, classes: Tensor, done: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Returns the loss of a batch, and the logits (N, classes) that its accuracy is counted on."""
        logits = network(images)
        return F.cross_entropy(logits, classes, label_smoothing=self.smoothing), logits


RECIPES.add(
    replace(PAPER, name="smoothed", title="paper, smoothed labels", objective=SmoothedLabels(smoothing=0.2))
)


@torch.no_grad()
def brightness(target: Target, settings: AttackSettings) -> Tensor:
    """Makes each whole image lighter, or darker, by epsilon: whichever misleads the model more."""
    tries = [(target.images + sign * settings.epsilon).clamp(0, 1) for sign in (1, -1)]
    lighter, darker = (margins(target.model(images), target.classes) for images in tries)
    return torch.where((lighter < darker)[:, None, None, None], *tries)


ATTACKS.add(AttackKind("brightness", brightness, steps=1))
