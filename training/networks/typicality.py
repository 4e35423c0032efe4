"""Fitting the typicality of a network to its training images and calibrating it on held-out ones."""

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from model.frozen import Expanded, Inference
from model.layers.semantic import l2_normalised
from model.layers.warp import warp
from model.manifest import TYPICALITY_SCORE
from model.typicality import Typicality, TypicalityConfig, Weights, pooled_maps
from training.augmentation import Motion
from training.data.dataset import Dataset

_PIECE = 500
_STEPS = 10
# The prototypes of so many training images are as good as those of all.
_ENOUGH = 20_000
# Any of the held-out scores, chosen blindly, calibrate as rightly as all.
_MOST_IN_MANIFEST = 2000
_OF_COPIES = Motion(turned=10.0, scaled=0.1, sheared=0.15, shifted=1.0)


class FittedTypicality(NamedTuple):
    """A typicality, the scores (N,) of held-out images, from the smallest, and the allowance for a shift."""

    typicality: Typicality
    calibration: Tensor
    shift: float

    def manifest(self) -> dict[str, Any]:
        """Returns what a package's manifest says of it: `typicality`."""
        random = torch.randperm(len(self.calibration), generator=Generator().manual_seed(0))
        kept = self.calibration[random[:_MOST_IN_MANIFEST]].sort().values
        return {
            "output": TYPICALITY_SCORE,
            "weights": self.typicality.weights._asdict(),
            "prototypes": len(self.typicality.weighted_prototypes),
            "shift": self.shift,
            "calibration": [round(score, 6) for score in kept.tolist()],
        }


@torch.no_grad()
def inferred(network: Expanded, images: Tensor) -> Inference:
    """Returns the forward pass of any number of images, piece by piece."""
    pieces = [network.infer(piece) for piece in images.split(_PIECE)]
    return Inference(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


@torch.no_grad()
def fit_typicality(
    network: Expanded, train: Dataset, held_out: Dataset, config: TypicalityConfig, seed: int = 0
) -> FittedTypicality:
    """Returns the typicality of the training images and the scores of the held-out ones."""
    generator = Generator().manual_seed(seed)
    chosen = torch.randperm(len(train), generator=generator)[:_ENOUGH]
    bright = inferred(network, train.images[chosen]).bright
    pooling = config.pooling((bright.shape[2], bright.shape[3]))
    classes, labels = train.classes[chosen], train.labels
    count = max(1, min(config.most_prototypes_per_class, config.most_prototypes // len(labels)))
    by_class = (
        _directions(bright[classes == index], pooling, config.copies, generator)
        for index in range(len(labels))
    )
    prototypes = torch.cat([_prototypes(directions, count, generator) for directions in by_class])
    genuine = inferred(network, held_out.images)
    terms = Typicality(prototypes, Weights(1, 0), pooling).terms(genuine)
    similarity, margin, ink = (_spread(term) for term in terms)
    share = margin / config.margin_weight
    weights = Weights(share / similarity, config.ink_weight * share / ink)
    typicality = Typicality(prototypes, weights, pooling)
    return FittedTypicality(
        typicality, typicality(genuine).nan_to_num(torch.finfo().max).sort().values, config.shift
    )


def _spread(term: Tensor) -> float:
    """Returns how far the lowest tenth is from the median: outliers do not matter."""
    return max(float(term.nanmedian() - term.nanquantile(0.1)), 1e-6)


def _directions(bright: Tensor, pooling: int, copies: int, generator: Generator) -> Tensor:
    """Returns the directions (copies * N, h * w) of bright maps (N, 1, H, W) and of moved ones."""
    maps = (bright, *(_moved(bright, generator) for _ in range(copies - 1)))
    return torch.cat([l2_normalised(pooled_maps(some, pooling), 1) for some in maps])


def _moved(maps: Tensor, generator: Generator) -> Tensor:
    """Returns the maps (N, 1, H, W), each turned, scaled, sheared and shifted at random, a little."""
    return warp(maps[:, 0], _OF_COPIES.maps(len(maps), generator))[:, None]


def _prototypes(vectors: Tensor, count: int, generator: Generator) -> Tensor:
    """Returns the directions of `count` cluster centres of one class (Lloyd 1982)."""
    count = min(count, len(vectors))
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:count]].clone()
    for _ in range(_STEPS):
        nearest = _nearest(vectors, centres)
        members = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(members[:, None] > 0, sums / members[:, None].clamp(min=1), centres)
    return l2_normalised(centres, 1)


def _nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    offsets = centres.square().sum(dim=1)
    return torch.cat([(offsets - 2 * piece @ centres.T).argmin(dim=1) for piece in vectors.split(_PIECE)])
