"""The set that an attack may move in: a ball around an image, cut with the box [0, 1]."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.attacks.settings import Norm

# How far a float32 attack may miss the ball by rounding; what is further out is another perturbation.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Distance:
    """How far two images are apart: the largest change, the Euclidean one, the pixels changed."""

    linf: float
    l2: float
    l0: int


def distance(image: Tensor, other: Tensor) -> Distance:
    """Measures in float64 between two images of any equal shape."""
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
        """Tells whether `other` lies inside but for float32 rounding."""
        in_box = bool((other >= -_ROUNDING).all() and (other <= 1 + _ROUNDING).all())
        return in_box and self.radius_of(other) <= self.epsilon + _ROUNDING

    def project(self, other: Tensor) -> Tensor:
        """Returns the image nearest to `other`; its float64 distance never exceeds epsilon."""
        boxed = other.clamp(0, 1)
        if self.norm == "linf":
            low, high = self._linf_bounds()
            return torch.maximum(torch.minimum(boxed, high), low)
        radius = self.radius_of(boxed)
        if radius <= self.epsilon:
            return boxed
        shrink = max(0.0, self.epsilon / radius * (1 - 1e-6))
        # Towards the centre, which is in the box: so is every point between.
        return (self.image + (boxed - self.image) * shrink).clamp(0, 1)

    def _linf_bounds(self) -> tuple[Tensor, Tensor]:
        """The ball's float32 bounds, rounded inwards and cut with the box."""
        centre = self.image.double().numpy()
        low, high = centre - self.epsilon, centre + self.epsilon
        low32, high32 = low.astype(np.float32), high.astype(np.float32)
        low32 = np.where(low32 < low, np.nextafter(low32, np.float32(np.inf)), low32)
        high32 = np.where(high32 > high, np.nextafter(high32, np.float32(-np.inf)), high32)
        return torch.from_numpy(low32.clip(0, 1)), torch.from_numpy(high32.clip(0, 1))
