"""What happens to training images on their way into a step, as plain data and what it does."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from model.warp import warp


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise on a whole batch with some probability, clipped to [0, 1]."""

    mean: float
    std: float
    probability: float


NO_NOISE = Noise(mean=0.0, std=0.0, probability=0.0)


@dataclass(frozen=True)
class Jitter:
    """A random affine map of each image with some probability: I + N(0, linear), shifted by N(0, shift).

    Attributes:
        linear: Standard deviation of each entry of the 2x2 matrix.
        shift: Standard deviation of the translation, in pixels.
        probability: Share of the images that are moved; the others stay as sharp as they are.
    """

    linear: float
    shift: float
    probability: float


NO_JITTER = Jitter(linear=0.0, shift=0.0, probability=0.0)


def add_noise(images: Tensor, noise: Noise, generator: Generator) -> Tensor:
    """Returns the batch with noise, or as it is: one draw decides for the whole batch."""
    if torch.rand((), generator=generator) >= noise.probability:
        return images
    drawn = torch.randn(images.shape, generator=generator)
    return (images + noise.mean + noise.std * drawn).clamp(0, 1)


def add_jitter(images: Tensor, jitter: Jitter, generator: Generator) -> Tensor:
    """Returns the batch (N, 1, H, W) with some of its images moved."""
    if jitter.probability == 0:
        return images
    moved = torch.rand(len(images), generator=generator) < jitter.probability
    scale = torch.tensor([jitter.linear, jitter.linear, jitter.shift])
    maps = torch.eye(2, 3) + scale * torch.randn(len(images), 2, 3, generator=generator)
    warped = warp(images[:, 0], maps)[:, None].clamp(0, 1)
    return torch.where(moved[:, None, None, None], warped, images)
