"""The convolutional layer: strokes in any direction become one bright map."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.semantic import SemanticFeature, SemanticLayer, l2_normalised
from model.layers.warp import warp

# Images whose responses to all kernels are held at once: 16 maps of 64 responses stay in the cache.
IMAGES_IN_CACHE = 16


class ConvolutionalFeature(SemanticFeature):
    """A square kernel in k rotations (Satkiewicz 2024, sec. 3.2).

    Base (c_out, c_in, k, k); a pose is an angle in radians; L(p) rotates every filter by p about its
    centre; match(d, g) = max over the output filters of <d, g_i / ||g_i||> for a patch d (c_in, k, k).
    """

    def locality(self, pose: Tensor) -> Tensor:
        return rotations(self.base.flatten(0, 1), pose[None])[:, 0].view_as(self.base)

    def match(self, data: Tensor, posed: Tensor) -> Tensor:
        return (data * l2_normalised(posed, (1, 2, 3))).sum(dim=(1, 2, 3)).amax()


class Response(NamedTuple):
    """The best match at every pixel and which kernel gave it."""

    value: Tensor
    winner: Tensor


class ConvolutionalLayer(SemanticLayer):
    """One convolutional feature matched at every pixel, scaled by 1/k, then ReLU (sec. 4.2).

    bright(y) = relu(max over filter i and rotation p of <patch(y), L(p)(f_i) / ||L(p)(f_i)||> / k),
    with zero padding: one channel, whatever the number of filters.
    """

    def __init__(self, kernels: int, kernel_size: int, rotations: int) -> None:
        super().__init__()
        base = torch.zeros(kernels, kernel_size, kernel_size)
        base[:, kernel_size // 2, kernel_size // 2] = 1.0
        self.base = nn.Parameter(base + 0.1 * torch.randn_like(base))
        angles = 2 * math.pi * torch.arange(rotations) / rotations
        self.register_buffer("angles", angles, persistent=False)
        self.angles: Tensor

    def expand(self) -> Tensor:
        """Returns all kernels in all rotations, of norm 1: (kernels, rotations, k, k)."""
        return l2_normalised(rotations(self.base, self.angles), (2, 3))

    def features(self) -> Sequence[SemanticFeature]:
        return [ConvolutionalFeature(self.base[:, None], self.angles)]

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps (N, 1, H, W) to the bright map (N, 1, H, W)."""
        return bright_map(pixels, self.expand().flatten(0, 1)).value

    @torch.no_grad()
    def project_(self) -> None:
        self.base.copy_(l2_normalised(self.base, (1, 2)))


def rotations(kernels: Tensor, angles: Tensor) -> Tensor:
    """Returns every kernel (F, k, k) rotated by every angle (P,), in one warp: (F, P, k, k)."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    maps = torch.stack([cos, sin, zero, -sin, cos, zero], dim=1).unflatten(1, (2, 3))  # (P, 2, 3)
    count, poses = len(kernels), len(angles)
    posed = warp(kernels.repeat_interleave(poses, 0), maps.repeat(count, 1, 1))  # (F * P, k, k)
    return posed.view(count, poses, *kernels.shape[1:])


def bright_map(pixels: Tensor, kernels: Tensor) -> Response:
    """Matches every patch with every kernel and keeps the best, scaled and rectified.

    Most of the network's time is the map of responses, kernels times the size of the image, and its
    maximum. Here it is made piecewise in the cache and without a graph, only to find the winners; the
    value is then one inner product a pixel with the winning kernel. By the envelope theorem this is
    the maximum with its gradient. A graph that is being exported takes the maximum directly.

    Args:
        pixels: (N, 1, H, W).
        kernels: (K, k, k), each of norm 1, k odd.

    Returns:
        value (N, 1, H, W) and winner (N, 1, H, W), the index of the best kernel.
    """
    side = kernels.shape[-1]
    if torch.compiler.is_exporting():
        responses = F.conv2d(pixels, kernels[:, None], padding=side // 2)  # (N, K, H, W)
        best, winner = responses.max(dim=1, keepdim=True)
        return Response((best / side).relu(), winner)
    winner = _winning_kernels(pixels, kernels)
    patches = F.unfold(pixels, side, padding=side // 2).transpose(1, 2)  # (N, H * W, k * k)
    winning = F.embedding(winner.flatten(1), kernels.flatten(1))  # (N, H * W, k * k)
    best = (patches * winning).sum(dim=2).view_as(pixels)
    return Response((best / side).relu(), winner)


@torch.no_grad()
def _winning_kernels(pixels: Tensor, kernels: Tensor) -> Tensor:
    padding = kernels.shape[-1] // 2
    pieces = pixels.split(IMAGES_IN_CACHE)
    best = [F.conv2d(piece, kernels[:, None], padding=padding).max(dim=1) for piece in pieces]
    return torch.cat([piece.indices for piece in best])[:, None]  # (N, 1, H, W)
