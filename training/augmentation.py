"""Training images changed at random: moved a little, or salted."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from model.layers.warp import warp

# Sampling between pixels makes an edge greyer: of MNIST's pixels 6.6% lie between 0.2 and 0.8, of moved ones
# 10.4%, and within 0.3 each of them may be ink or none. So much more contrast makes it 6.6% again.
_CONTRAST = 1.5


class Motion(NamedTuple):
    """How far an image is moved at most, either way.

    Attributes:
        turned: Degrees.
        scaled: Share of its width, and of its height.
        sheared: Pixels across for each pixel down.
        shifted: Pixels, across and down.
    """

    turned: float
    scaled: float
    sheared: float
    shifted: float

    def maps(self, count: int, generator: Generator) -> Tensor:
        """Returns random maps (count, 2, 3) for `warp`."""
        turn, across, down, shear, right, below = 2 * torch.rand(6, count, generator=generator) - 1
        cosine, sine = (math.radians(self.turned) * turn).cos(), (math.radians(self.turned) * turn).sin()
        across, down = 1 + self.scaled * across, 1 + self.scaled * down
        to_x = [cosine * across, self.sheared * shear - sine * down, self.shifted * right]
        to_y = [sine * across, cosine * down, self.shifted * below]
        return torch.stack([torch.stack(row, dim=1) for row in (to_x, to_y)], dim=1)


# As much as a digit's writer might have moved it.
_OF_DIGITS = Motion(turned=8.0, scaled=0.08, sheared=0.1, shifted=1.0)


def moved(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Returns images (N, 1, H, W) in [0, 1], a share of them moved a little at random, as sharp as before."""
    maps = _OF_DIGITS.maps(len(images), generator)
    blurred = warp(images[:, 0], maps.to(images.device))[:, None]
    sharp = (_CONTRAST * (blurred - 0.5) + 0.5).clamp(0, 1)
    stays = torch.rand(len(images), generator=generator) >= share
    return torch.where(stays[:, None, None, None].to(images.device), images, sharp)


def salt_and_pepper(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Returns the images (N, 1, H, W) with a share of their pixels set to 0 or 1, as many to each."""
    drawn = torch.rand(images.shape, generator=generator).to(images.device)
    return torch.where(drawn < share, (drawn < share / 2).to(images.dtype), images)
