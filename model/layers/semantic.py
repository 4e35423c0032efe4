"""The semantic feature: the one notion that all layers of the network are made of.

Source: Satkiewicz 2024 (arXiv 2403.09863), sec. 3. A semantic feature is a triple (f, P, L):

- base `f`: a tensor of s numbers, what the feature looks like;
- poses `P`: the set of parameters along which it may vary without changing its meaning;
- locality `L`: maps a pose p to a function of the base, `L(p)(f)`, the feature seen in that pose.

A feature meets data through `SFmatch(d) = max over p in P of match(d, L(p)(f))`: poses exclude one
another (an exclusive or over poses), the coordinates inside one pose work together (an and).

Five kinds exist, each beside the layer that uses it:

| kind          | class                                | layer                  |
|---------------|--------------------------------------|------------------------|
| real-valued   | `model.layers.two_step.RealValuedFeature`   | `TwoStepLayer`         |
| convolutional | `model.layers.convolutional.ConvolutionalFeature` | `ConvolutionalLayer` |
| affine        | `model.layers.affine.AffineFeature`         | `AffineLayer`          |
| xor           | `model.layers.logical.XorFeature`           | a block of the next    |
| logical       | `model.layers.logical.LogicalFeature`       | `LogicalLayer`         |

The classes here say what a feature *is*, pose by pose. Layers compute the same for many features at
once with batched tensors; tests hold the two against each other.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_SMALLEST_NORM = 1e-10


class Match(NamedTuple):
    """The best match of a feature with some data, and the pose that gave it."""

    value: Tensor
    pose: int


class SemanticFeature(ABC):
    """A base with a finite set of poses and a locality function.

    Attributes:
        base: The feature in its rest pose, any shape.
        poses: One pose for each entry of the first axis.
    """

    def __init__(self, base: Tensor, poses: Tensor) -> None:
        self.base = base
        self.poses = poses

    @abstractmethod
    def locality(self, pose: Tensor) -> Tensor:
        """Returns L(pose)(base), of the base's shape."""

    def match(self, data: Tensor, posed: Tensor) -> Tensor:
        """Returns how well `data` agrees with the feature in one pose: the inner product."""
        return (data * posed).sum()

    def sf_match(self, data: Tensor) -> Match:
        """Returns SFmatch(data), the best match over all poses (sec. 3, eq. of SFmatch)."""
        matches = torch.stack([self.match(data, self.locality(pose)) for pose in self.poses])
        pose = int(matches.argmax())
        return Match(matches[pose], pose)


class SemanticLayer(nn.Module, ABC):
    """A layer of semantic features whose poses can be expanded into plain tensors."""

    @abstractmethod
    def expand(self) -> Tensor:
        """Returns every feature in each of its poses: (features, poses, *base shape)."""

    @abstractmethod
    def features(self) -> Sequence[SemanticFeature]:
        """Returns the layer's features one by one, as the definition has them."""

    def project_(self) -> None:
        """Projects the parameters onto their allowed set; called after each training step."""


def l2_normalised(tensor: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Returns `tensor` divided by its L2 norm over `dims`."""
    norm: Tensor = torch.linalg.vector_norm(tensor, dim=dims, keepdim=True)
    if torch.compiler.is_exporting():  # a sum with so small a number is dropped from an ONNX graph
        return tensor / norm.clamp(min=_SMALLEST_NORM)
    return tensor / (norm + _SMALLEST_NORM)
