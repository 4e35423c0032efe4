"""Sound bounds on the logits over an L-inf ball: a certificate that no attack inside it can succeed.

Interval arithmetic through the four layers, in float64. The two-step layer is monotone in each pixel, so its
interval is exact. A kernel's response is linear in the patch, so its interval is exact; hence so is the
upper bound of the maximum over kernels, while its lower bound is the best of the kernels' lower bounds. The
same holds for templates. The margin subtracts the rows of the logical layer before it bounds: for every
pose of a wrong class, the best pose of the right one.

The bounds fall as epsilon grows, since a larger box holds the smaller one, so a certified radius can be
found by bisection.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.frozen import FrozenNetwork
from model.two_step import TwoStepTerms, two_step

# A margin counts as certain only above this: ten times what float32 logits may be off (1e-5), so that the
# certificate holds for the exported graph on any runtime.
CERTAIN_MARGIN = 1e-4
# Epsilon is widened by this, so that a pixel that lands exactly on a threshold counts as movable.
_OUTWARD = 1e-7


class Interval(NamedTuple):
    """Element-wise bounds, both of one shape."""

    lower: Tensor
    upper: Tensor


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
        pixels = two_step_interval(images.double(), epsilon + _OUTWARD, self.terms)
        bright = bright_interval(pixels, self.kernels)
        shapes = shape_interval(bright, self.templates)
        return margin_lower_bound(shapes, self.rows, classes)

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


def two_step_interval(images: Tensor, epsilon: float, terms: TwoStepTerms) -> Interval:
    """Bounds the two-step layer over the ball, exactly: (N, 1, H, W)."""
    lower, upper = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    return Interval(two_step(lower, terms), two_step(upper, terms))


def bright_interval(pixels: Interval, kernels: Tensor) -> Interval:
    """Bounds the bright map (N, 1, H, W) given the two-step map's bounds."""
    side = kernels.shape[-1]
    patches = (F.unfold(bound, side, padding=side // 2).transpose(1, 2) for bound in pixels)
    lower, upper = linear_interval(Interval(*patches), kernels.flatten(1))  # (N, H * W, K)
    best = (bound.amax(dim=2).view_as(pixels.lower) for bound in (lower, upper))
    return Interval(*((bound / side).relu() for bound in best))


def shape_interval(bright: Interval, templates: Tensor) -> Interval:
    """Bounds the activations (N, F) given the bright map's bounds."""
    count, poses = templates.shape[:2]
    flat = Interval(bright.lower.flatten(1), bright.upper.flatten(1))
    lower, upper = linear_interval(flat, templates.flatten(2).flatten(0, 1))  # (N, F * P)
    return Interval(*(bound.view(-1, count, poses).amax(dim=2).relu() for bound in (lower, upper)))


def margin_lower_bound(shapes: Interval, rows: Tensor, classes: Tensor) -> Tensor:
    """Bounds the margin (N,) given the activations' bounds (N, F).

    logit_t - logit_c = min over poses r of c, max over poses q of t, of (row_tq - row_cr) . shapes.
    """
    margins = []
    for index, true in enumerate(classes.tolist()):
        own = Interval(shapes.lower[index], shapes.upper[index])
        others = torch.cat([rows[c] for c in range(len(rows)) if c != true])  # (R, F)
        differences = rows[true][None] - others[:, None]  # (R, Q, F)
        margins.append(linear_interval(own, differences).lower.amax(dim=1).amin())
    return torch.stack(margins)


def linear_interval(values: Interval, weights: Tensor) -> Interval:
    """Bounds values @ weights.T over the box, exactly for each output: (..., I) and (..., O, I)."""
    positive, negative = weights.clamp(min=0).mT, weights.clamp(max=0).mT
    return Interval(
        values.lower @ positive + values.upper @ negative,
        values.upper @ positive + values.lower @ negative,
    )
