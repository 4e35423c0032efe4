"""How unusual an image is, from what the network computes anyway."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.frozen import Inference


@dataclass(frozen=True)
class TypicalityConfig:
    """What a typicality score is made of.

    Attributes:
        cells: The bright map is compared as the means of about so many squares along its shorter side.
        most_prototypes: Of all classes together.
        most_prototypes_per_class: Of the training images, by Lloyd's algorithm.
        logit_weight: Of the largest logit beside the similarity; with 1, both spread equally.
        ink_weight: Of the amount of ink, likewise.
        shift: Images are to be called untypical as seldom as promised even if unusual ones are so many
            times more frequent among them than among the held-out ones.
    """

    cells: int = 9
    most_prototypes: int = 1000
    most_prototypes_per_class: int = 250
    logit_weight: float = 0.4
    ink_weight: float = 0.5
    shift: float = 1.5

    def pooling(self, size: tuple[int, int]) -> int:
        """Returns the side of the squares in an image of this height and width."""
        return max(1, min(size) // self.cells)


class Weights(NamedTuple):
    """What the terms of the score count beside the logit."""

    similarity: float
    ink: float


class Terms(NamedTuple):
    """What the score is made of, each (N,)."""

    similarity: Tensor
    logit: Tensor
    ink: Tensor


class Typicality(nn.Module):
    """The typicality score, from the bright map and the logits.

    An image is typical if its pooled bright map v points where a prototype q (of norm 1) does, if its
    class claims it clearly, and if it is not full of ink:

        score = w2 * ||v|| - w1 * max over q of <q, v> / ||v|| - max over classes of logit.

    An empty bright map has no direction, and no number as its score.

    Args:
        prototypes: (M, h * w), each of norm 1.
        weights: w1 and w2.
        pooling: Side of the squares whose means v holds.
    """

    def __init__(self, prototypes: Tensor, weights: Weights, pooling: int) -> None:
        super().__init__()
        self.register_buffer("weighted_prototypes", weights.similarity * prototypes.detach())
        self.weighted_prototypes: Tensor
        self.weights, self.pooling = weights, pooling

    def forward(self, inferred: Inference) -> Tensor:
        """Returns scores (N,), larger for less typical images."""
        terms = self.terms(inferred)
        return self.weights.ink * terms.ink - terms.similarity - terms.logit

    def terms(self, inferred: Inference) -> Terms:
        """Returns what the score is made of; the similarity is weighted."""
        pooled = pooled_maps(inferred.bright, self.pooling)  # (N, h * w)
        ink = torch.linalg.vector_norm(pooled, dim=1)
        nearest = (pooled @ self.weighted_prototypes.T).amax(dim=1)
        return Terms(nearest / ink, inferred.logits.amax(dim=1), ink)


def pooled_maps(bright: Tensor, pooling: int) -> Tensor:
    """Returns the means of squares of bright maps (N, 1, H, W): (N, h * w)."""
    return F.avg_pool2d(bright, pooling).flatten(1)
