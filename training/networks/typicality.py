"""Fitting the typicality of a network to its training images and calibrating it on held-out ones."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.frozen import FrozenNetwork
from model.typicality import (
    Inference,
    Typicality,
    TypicalityConfig,
    Weights,
    directions,
    infer,
)
from training.data.dataset import Dataset

_PIECE = 500
_STEPS = 10
# The principal directions of so many training images are those of all.
_ENOUGH = 6000
# Any of the held-out scores, chosen blindly, calibrate as rightly as all.
_MOST_IN_MANIFEST = 1000


class FittedTypicality(NamedTuple):
    """A typicality and the scores (N,) of held-out images, from the smallest."""

    typicality: Typicality
    calibration: Tensor

    def manifest(self) -> dict[str, Any]:
        """Returns what a package's manifest says of it: `typicality`."""
        random = torch.randperm(len(self.calibration), generator=torch.Generator().manual_seed(0))
        kept = self.calibration[random[:_MOST_IN_MANIFEST]].sort().values
        return {
            "output": "typicality_score",
            "weights": self.typicality.weights._asdict(),
            "prototypes": len(self.typicality.prototypes),
            "calibration": [round(score, 6) for score in kept.tolist()],
        }


@torch.no_grad()
def inferred(network: FrozenNetwork, images: Tensor) -> Inference:
    """Returns the forward pass of any number of images, piece by piece."""
    pieces = [infer(network, piece) for piece in images.split(_PIECE)]
    return Inference(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def fit_typicality(
    network: FrozenNetwork, train: Dataset, held_out: Dataset, config: TypicalityConfig, seed: int = 0
) -> FittedTypicality:
    """Returns the typicality of the training images and the scores of the held-out ones."""
    generator = torch.Generator().manual_seed(seed)
    vectors = directions(inferred(network, train.images).bright, config.pooling)
    some = torch.randperm(len(vectors), generator=generator)[:_ENOUGH]
    basis = torch.linalg.svd(vectors[some], full_matrices=False).Vh[: config.dimensions].T
    prototypes = torch.cat(
        [
            _prototypes(vectors[train.classes == index], config.prototypes_per_class, generator)
            for index in range(len(train.labels))
        ]
    )
    genuine = inferred(network, held_out.images)
    terms = Typicality(basis, prototypes @ basis, Weights(0, 0), config.pooling).terms(genuine)
    similarity, logit, explained = (_spread(term) for term in terms)
    weights = Weights(
        config.logit_weight * similarity / logit, config.explained_weight * similarity / explained
    )
    typicality = Typicality(basis, prototypes @ basis, weights, config.pooling)
    return FittedTypicality(typicality, typicality(genuine).sort().values)


def _spread(term: Tensor) -> float:
    """Returns how far the lowest tenth is from the median: outliers do not matter."""
    return float(term.median() - term.quantile(0.1))


def _prototypes(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Returns the directions of `count` cluster centres of one class (Lloyd 1982)."""
    count = min(count, len(vectors))
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:count]].clone()
    for _ in range(_STEPS):
        nearest = _nearest(vectors, centres)
        members = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(members[:, None] > 0, sums / members[:, None].clamp(min=1), centres)
    norm: Tensor = torch.linalg.vector_norm(centres, dim=1, keepdim=True)
    return centres / norm.clamp(min=1e-6)


def _nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    offsets = centres.square().sum(dim=1)
    return torch.cat([(offsets - 2 * piece @ centres.T).argmin(dim=1) for piece in vectors.split(_PIECE)])
