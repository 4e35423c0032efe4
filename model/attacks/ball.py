"""The perturbation set of an attack: a ball around an image, intersected with the box [0, 1]."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.attacks.settings import Norm

# How far float32 rounding may put an attack's result outside the ball.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Distance:
    """The distance of two images: largest change of a pixel, Euclidean norm, number of changed pixels."""

    linf: float
    l2: float
    l0: int


def distance(image: Tensor, other: Tensor) -> Distance:
    """Returns the distance of two images of one shape, computed in float64."""
    change = (other.double() - image.double()).flatten()
    return Distance(float(change.abs().max()), float(change.norm()), int(torch.count_nonzero(change)))


@dataclass(frozen=True)
class Ball:
    """All images within `epsilon` of `image` in `norm`, every pixel in [0, 1]."""

    image: Tensor
    epsilon: float
    norm: Norm

    def radius_of(self, other: Tensor) -> float:
        """Returns the distance of `other` from the centre in the ball's norm."""
        apart = distance(self.image, other)
        return apart.linf if self.norm == "linf" else apart.l2

    def nearly_contains(self, other: Tensor) -> bool:
        """Tells whether `other` lies inside, up to float32 rounding."""
        in_box = bool((other >= -_ROUNDING).all() and (other <= 1 + _ROUNDING).all())
        return in_box and self.radius_of(other) <= self.epsilon + _ROUNDING

    def project(self, other: Tensor) -> Tensor:
        """Projects `other` into ball and box; its distance, computed in float64, never exceeds epsilon."""
        boxed = other.clamp(0, 1)
        radius = self.radius_of(boxed)
        if radius <= self.epsilon:
            return boxed
        change = boxed.double() - self.image.double()
        if self.norm == "linf":
            return self._moved_by(change.clamp(-self.epsilon, self.epsilon))
        # The last factor makes room for the rounding of the norm itself.
        return self._moved_by(change * (self.epsilon / radius) * (1 - 1e-12))

    def _moved_by(self, change: Tensor) -> Tensor:
        """Returns the centre plus a float64 change, each pixel rounded towards the centre."""
        centre = self.image.numpy()
        exact = centre.astype(np.float64) + change.numpy()
        rounded = exact.astype(np.float32)
        too_far = np.abs(rounded - centre.astype(np.float64)) > np.abs(change.numpy())
        return torch.from_numpy(np.where(too_far, np.nextafter(rounded, centre), rounded))
