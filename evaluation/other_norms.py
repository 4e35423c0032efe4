"""How small a change turns an image, measured in L2 and in the number of changed pixels (L0).

Training and certificates are about L-inf: these attacks tell what a network withstands beyond.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.evaluated_model import EvaluatedModel
from evaluation.harness.plan import nearest_of_another_class
from evaluation.harness.shard import one_thread
from model.attacks.budget import margins
from model.attacks.catalogue import ATTACKS
from model.attacks.registry import Target, autoattack_members, fmn_l0, pointwise, run
from model.attacks.settings import AttackSettings
from model.attacks.unsaturated import Unsaturated
from training.data import Dataset
from training.errors import TrainingError

SAMPLE = 100
L2_RADII = (0.5, 1.0, 1.5, 2.0, 3.0)
L0_COUNTS = (1, 5, 10, 20, 40)
_BATCH = 200
# A pixel that an attack of real numbers moved by less was not meant to change.
_UNCHANGED = 1e-6


def accuracy_in_other_norms(
    model: EvaluatedModel, dataset: Dataset, sample: int = SAMPLE, seed: int = 0
) -> dict[str, Any]:
    """Returns what a card says of changes that are small in L2, and of changes of few pixels.

    An image withstands a radius if it is classified right and no change that any attack found is as small.

    L2: APGD at each radius, on cross-entropy and, with four classes or more, targeted; FAB-T (all Croce &
    Hein 2020); DeepFool; Boundary (Brendel 2018). L0: Pointwise (Schott et al. 2019), which sees decisions
    only and takes back one changed pixel after the other, from the nearest image of another class, from
    what the L2 attacks found and from what FMN-L0 (Pintor et al. 2021) found.

    Args:
        model: The network.
        dataset: The images.
        sample: How many of them are drawn, the same ones for the same seed.
        seed: Of the draw and of every attack.

    Raises:
        TrainingError: An image has none of another class that the network gets right, where attacks start.
    """
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:sample]
    with one_thread():
        target, starts = _under_attack(model, dataset, chosen)
        in_l2, in_l0 = _Nearest(target), _Nearest(target)
        for found in _l2_attempts(target, len(model.labels), seed):
            in_l2.consider(found, (found - target.images).flatten(1).norm(dim=1))
        for found in _l0_attempts(target, starts, in_l2.images, seed):
            in_l0.consider(found, torch.count_nonzero(found != target.images, dim=(1, 2, 3)).float())
    rows = [{"norm": "l2", **in_l2.withstood(L2_RADII)}, {"norm": "l0", **in_l0.withstood(L0_COUNTS)}]
    return {"count": len(chosen), "seed": seed, "rows": rows}


class _Nearest:
    """The nearest misclassified image that was found for each image."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.images = target.images.clone()
        right = _is_right(target, target.images)
        self.distances = torch.zeros(len(right)).where(~right, torch.inf)  # (N,)

    def consider(self, found: Tensor, distances: Tensor) -> None:
        """Keeps what is misclassified and nearer than before; `distances` (N,) are those of `found`."""
        nearer = ~_is_right(self._target, found) & (distances < self.distances)
        self.images[nearer], self.distances[nearer] = found[nearer], distances[nearer]

    def withstood(self, radii: Sequence[float]) -> dict[str, Any]:
        """Returns the share of images beyond each radius, and the median distance; None if it is infinite."""
        shares = [round(float((self.distances > radius).float().mean()), 6) for radius in radii]
        accuracy = [{"radius": r, "accuracy": share} for r, share in zip(radii, shares, strict=True)]
        median = float(self.distances.median())
        return {"median": None if math.isinf(median) else round(median, 4), "accuracy": accuracy}


def _under_attack(model: EvaluatedModel, dataset: Dataset, chosen: Tensor) -> tuple[Target, Tensor]:
    pieces = zip(dataset.images.split(_BATCH), dataset.classes.split(_BATCH), strict=True)
    with torch.no_grad():
        lead = torch.cat([margins(model.network(images), classes) for images, classes in pieces])
    starts = nearest_of_another_class(dataset, lead, chosen)
    if starts is None:
        raise TrainingError(
            f"{model.name} gets no image of another class right, so no attack can start there."
        )
    target = Target(model.network, dataset.images[chosen], dataset.classes[chosen], lambda _images, _: starts)
    return target, starts


def _is_right(target: Target, images: Tensor) -> Tensor:
    """Tells for which images (N, 1, H, W) the true class is strictly ahead: (N,)."""
    with torch.no_grad():
        return margins(target.model(images), target.classes) > 0


def _l2_attempts(target: Target, classes: int, seed: int) -> Iterator[Tensor]:
    apgd = [name for name in autoattack_members(classes) if name.startswith("apgd")]
    every = [(name, radius) for radius in L2_RADII for name in apgd]
    every += [(name, max(L2_RADII)) for name in ("fab", "deepfool", "boundary")]
    for name, radius in every:
        attacked = _unsaturated(target) if ATTACKS[name].scaled_logits else target
        yield run(attacked, AttackSettings(name, "l2", radius, seed=seed)).clamp(0, 1)


def _l0_attempts(target: Target, starts: Tensor, found: Tensor, seed: int) -> Iterator[Tensor]:
    torch.manual_seed(seed)
    np.random.seed(seed)  # foolbox draws from numpy's global generator
    for attempt in (starts, found, fmn_l0(_unsaturated(target), starts)):
        few = torch.where((attempt - target.images).abs() > _UNCHANGED, attempt, target.images)
        turned = ~target.is_correct(few)
        yield pointwise(target, few.where(turned[:, None, None, None], starts))


def _unsaturated(target: Target) -> Target:
    """Returns the target with logits that no softmax saturates on."""
    return replace(target, model=Unsaturated(target.model, target.images, target.classes))
