"""Sound bounds on the logits over an L-inf ball: a certificate that no attack inside it can succeed.

The margin is bounded as in model/verification/interval_bounds.py, in float64.

The bounds fall as epsilon grows, since a larger box holds the smaller one, so a certified radius can be
found by bisection.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from model.frozen import FrozenNetwork
from model.layers.two_step import TwoStepTerms
from model.verification.interval_bounds import (
    Interval,
    both_ends,
    bright_interval,
    margin_lower_bound,
    shape_interval,
    two_step_interval,
)

# A margin counts as certain only above this: ten times what float32 logits may be off (1e-5), so that the
# certificate holds for the exported graph on any runtime.
CERTAIN_MARGIN = 1e-4
# Epsilon is widened by this, so that a pixel that lands exactly on a threshold counts as movable.
_OUTWARD = 1e-7


@dataclass(frozen=True)
class Certifier:
    """Bounds the margins of a frozen network.

    Attributes:
        terms: The two-step layer's closed form, float64.
        kernels: (K, k, k), all filters in all rotations.
        templates: (F, P, 28, 28).
        rows: (classes, poses, F).
    """

    terms: TwoStepTerms
    kernels: Tensor
    templates: Tensor
    rows: Tensor

    @classmethod
    def of(cls, network: FrozenNetwork) -> "Certifier":
        """Takes over a network's tensors in float64."""
        return cls(
            TwoStepTerms(*(term.double() for term in network.terms)),
            network.kernels.flatten(0, 1).double(),
            network.templates.double(),
            network.rows.double(),
        )

    @cached_property
    def _ends(self) -> Tensor:
        return both_ends(self.kernels)

    @cached_property
    def _magnitudes(self) -> Tensor:
        return self.templates.abs()

    @torch.no_grad()
    def margin_lower_bound(self, images: Tensor, classes: Tensor, epsilon: float) -> Tensor:
        """Bounds how far the true class stays ahead of every other inside the ball.

        Args:
            images: (N, 1, 28, 28) in [0, 1].
            classes: (N,) the true class indices.
            epsilon: Radius of the L-inf ball, cut with the box [0, 1].

        Returns:
            (N,) float64: no image in the ball has a smaller margin.
        """
        pixels = self.two_step_box(images, epsilon)
        bright = bright_interval(pixels, self._ends)
        shapes = shape_interval(bright, self.templates, self._magnitudes)
        return margin_lower_bound(shapes, self.rows, classes)

    def two_step_box(self, images: Tensor, epsilon: float) -> Interval:
        """Returns what the two-step maps of (N, 1, 28, 28) images become in their balls, and no more."""
        return two_step_interval(images.double(), epsilon + _OUTWARD, self.terms)

    def certified(self, images: Tensor, classes: Tensor, epsilon: float) -> Tensor:
        """Tells for which of the images no attack within `epsilon` can succeed: (N,)."""
        return self.margin_lower_bound(images, classes, epsilon) > CERTAIN_MARGIN

    def certified_radius(
        self, images: Tensor, classes: Tensor, largest: float = 0.5, precision: float = 1e-3
    ) -> Tensor:
        """Returns for each image the largest certified epsilon, 0 if there is none, by bisection.

        Args:
            images: (N, 1, 28, 28) in [0, 1].
            classes: (N,) the true class indices.
            largest: The radius to look below.
            precision: How far the answer may be below the bound's own radius.

        Returns:
            (N,) float64. An image is certified at its radius, unless that is 0.
        """
        radius, step = torch.zeros(len(images), dtype=torch.float64), largest / 2
        while step > precision / 2:
            farther = radius + step
            radius = torch.where(self._certified_each(images, classes, farther), farther, radius)
            step /= 2
        return radius

    def _certified_each(self, images: Tensor, classes: Tensor, epsilons: Tensor) -> Tensor:
        each = zip(images[:, None], classes[:, None], epsilons.tolist(), strict=True)
        return torch.cat([self.certified(image, true, epsilon) for image, true, epsilon in each])
