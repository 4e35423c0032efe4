"""The affine layer: shapes that may shift, turn, stretch and shear."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.semantic import SemanticFeature, SemanticLayer, l2_normalised
from model.layers.warp import warp


class AffineFeature(SemanticFeature):
    """A small image in a set of affine poses (Satkiewicz 2024, sec. 3.3).

    Base (H, W); a pose is an augmented matrix [A | t] (2, 3); L(p)(f) is f warped by p, bilinear with
    zeros outside; match(d, g) = <d, g / ||g||>.
    """

    def locality(self, pose: Tensor) -> Tensor:
        return warp(self.base[None], pose[None])[0]

    def match(self, data: Tensor, posed: Tensor) -> Tensor:
        return (data * l2_normalised(posed, (0, 1))).sum()


class ShapeMatch(NamedTuple):
    """The activation of every shape and its winning pose, both (N, F)."""

    activation: Tensor
    pose: Tensor


class AffineLayer(SemanticLayer):
    """F affine features with P learned poses each, matched with the whole bright map (sec. 4.3).

    shape_f = relu(max over p of <bright, L(p)(f) / ||L(p)(f)||>), the base patch in the centre of a
    canvas of the image's size. With `scatter` each shape starts at a place of its own, that many pixels from
    the centre in standard deviation, so that small bases cover the image between them.
    """

    def __init__(
        self, shapes: int, shape_size: int, poses: int, image_size: tuple[int, int], scatter: float = 0.0
    ) -> None:
        super().__init__()
        height, width = (side - shape_size for side in image_size)
        self.padding = [width // 2, width - width // 2, height // 2, height - height // 2]
        bound = 1 / shape_size
        self.base = nn.Parameter(torch.empty(shapes, shape_size, shape_size).uniform_(-bound, bound))
        self.poses = nn.Parameter(_starting_poses(shapes, poses, scatter))

    def expand(self) -> Tensor:
        """Returns every shape in each of its poses, of norm 1: (F, P, H, W), in one warp."""
        shapes, poses = self.poses.shape[:2]
        canvas = F.pad(self.base, self.padding)  # (F, H, W)
        posed = warp(canvas.repeat_interleave(poses, 0), self.poses.flatten(0, 1))  # (F * P, H, W)
        return l2_normalised(posed, (1, 2)).view(shapes, poses, *canvas.shape[1:])

    def features(self) -> Sequence[SemanticFeature]:
        canvas = F.pad(self.base, self.padding)
        return [AffineFeature(base, poses) for base, poses in zip(canvas, self.poses, strict=True)]

    def forward(self, bright: Tensor) -> Tensor:
        """Maps the bright map (N, 1, H, W) to activations (N, F)."""
        return match_shapes(bright, self.expand()).activation

    @torch.no_grad()
    def project_(self) -> None:
        self.base.copy_(l2_normalised(self.base, (1, 2)))


def _starting_poses(shapes: int, poses: int, scatter: float) -> Tensor:
    """Returns (F, P, 2, 3): the identity + N(0, 0.01), shifted by N(0, 1) pixels around the shape's place."""
    start = torch.eye(2, 3) + 0.01 * torch.randn(shapes, poses, 2, 3)
    start[..., 2] += torch.randn(shapes, poses, 2)
    if scatter:
        start[..., 2] += scatter * torch.randn(shapes, 1, 2)
    return start


def match_shapes(bright: Tensor, templates: Tensor) -> ShapeMatch:
    """Matches the bright map (N, 1, H, W) with templates (F, P, H, W), the best pose of each shape."""
    scores = bright.flatten(1) @ templates.flatten(2).flatten(0, 1).T  # (N, F * P)
    best, pose = scores.unflatten(1, templates.shape[:2]).max(dim=2)  # (N, F)
    return ShapeMatch(best.relu(), pose)
