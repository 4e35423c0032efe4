"""How unusual an image is, from what the network computes anyway."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.frozen import FrozenNetwork
from model.layers.affine import match_shapes
from model.layers.convolutional import bright_map
from model.layers.logical import match_classes
from model.layers.two_step import two_step

_SMALLEST_NORM = 1e-6


class Inference(NamedTuple):
    """What a prediction and its typicality need: logits (N, C) and the bright map (N, 1, H, W)."""

    logits: Tensor
    bright: Tensor


def infer(network: FrozenNetwork, image: Tensor) -> Inference:
    """Returns the forward pass of images (N, 1, H, W) with the bright map that it went through."""
    bright = bright_map(two_step(image, network.terms), network.kernels.flatten(0, 1)).value
    shapes = match_shapes(bright, network.templates).activation
    return Inference(match_classes(shapes, network.rows).logit, bright)


@dataclass(frozen=True)
class TypicalityConfig:
    """What a typicality score is made of.

    Attributes:
        pooling: Side of the squares of the bright map whose means are compared.
        dimensions: Of the space in which they are compared.
        prototypes_per_class: Of the training images, by Lloyd's algorithm.
        logit_weight: Of the largest logit beside the similarity; with 1, both spread equally.
        explained_weight: Of the share of the bright map that lies in these dimensions, likewise.
    """

    pooling: int = 2
    dimensions: int = 64
    prototypes_per_class: int = 500
    logit_weight: float = 0.5
    explained_weight: float = 0.0


class Weights(NamedTuple):
    """What the terms of the score count."""

    logit: float
    explained: float


class Terms(NamedTuple):
    """What speaks for an image, each (N,)."""

    similarity: Tensor
    logit: Tensor
    explained: Tensor


class Typicality(nn.Module):
    """The typicality score: minus what speaks for an image, in the bright map and the logits.

    v = pool(bright) / ||pool(bright)|| is the bright map as a direction, z = v U its coordinates in the
    principal directions of the training images. An image is typical if a prototype q is near, if a shape
    claims it, and if its bright map lies in those directions at all:

        score = -(max over q of <z, q> + w1 * max over classes of logit + w2 * ||z||^2).

    Args:
        basis: U (h * w, dimensions), orthonormal columns.
        prototypes: (M, dimensions).
        weights: w1 and w2.
        pooling: As the config has it.
    """

    def __init__(self, basis: Tensor, prototypes: Tensor, weights: Weights, pooling: int) -> None:
        super().__init__()
        self.register_buffer("basis", basis.detach().clone())
        self.register_buffer("prototypes", prototypes.detach().clone())
        self.basis: Tensor
        self.prototypes: Tensor
        self.weights, self.pooling = weights, pooling

    def forward(self, inferred: Inference) -> Tensor:
        """Returns scores (N,), larger for less typical images."""
        terms = self.terms(inferred)
        score = terms.similarity + self.weights.logit * terms.logit
        if self.weights.explained:
            score = score + self.weights.explained * terms.explained
        return -score

    def terms(self, inferred: Inference) -> Terms:
        """Returns what the score is made of."""
        seen = directions(inferred.bright, self.pooling) @ self.basis  # (N, dimensions)
        similarity = (seen @ self.prototypes.T).amax(dim=1)
        return Terms(similarity, inferred.logits.amax(dim=1), seen.square().sum(dim=1))


def directions(bright: Tensor, pooling: int) -> Tensor:
    """Returns the pooled map of each image as a vector of norm 1, 0 for an empty map: (N, h * w)."""
    pooled = F.avg_pool2d(bright, pooling).flatten(1)
    norm: Tensor = torch.linalg.vector_norm(pooled, dim=1, keepdim=True)
    return pooled / (norm + _SMALLEST_NORM)


class TypicalPredictor(nn.Module):
    """What `predict.onnx` computes of a package with typicality: logits, probabilities and scores."""

    def __init__(self, network: FrozenNetwork, typicality: Typicality) -> None:
        super().__init__()
        self.network, self.typicality = network, typicality

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (N, 1, H, W) to logits and probabilities (N, classes) and scores (N,)."""
        inferred = infer(self.network, image)
        return inferred.logits, inferred.logits.softmax(dim=1), self.typicality(inferred)
