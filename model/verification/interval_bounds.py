"""Interval bounds through the four layers, each the tightest that its interval allows.

The two-step layer is monotone in each pixel, so its interval is exact. A kernel's response is linear in the
patch, so its interval is exact; hence so is the upper bound of the maximum over kernels, while its lower
bound is the largest of the kernels' lower bounds. The same holds for templates. For the margin, the rows of
the logical layer are subtracted before bounding: for every pose of a wrong class, the best pose of the true
class (pairwise margins).

The functions take any floating type and are differentiable: verification uses them in float64
(`IntervalBounds`), training in float32 (training/certified.py).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.frozen import FrozenNetwork
from model.layers.two_step import TwoStepTerms, two_step

# Images whose responses to all kernels are held at once: they stay in the cache.
_IMAGES_IN_CACHE = 8
# The ball is widened by this, so that a pixel that lands exactly on a threshold counts as movable.
_OUTWARD = 1e-7


class Interval(NamedTuple):
    """Element-wise bounds, both of one shape."""

    lower: Tensor
    upper: Tensor


@dataclass(frozen=True)
class IntervalBounds:
    """The interval bounds of a frozen network, in float64.

    Attributes:
        terms: The two-step layer's closed form.
        kernels: (K, k, k), all filters in all rotations.
        templates: (F, P, H, W).
        rows: (classes, poses, F).
    """

    terms: TwoStepTerms
    kernels: Tensor
    templates: Tensor
    rows: Tensor

    @classmethod
    def of(cls, network: FrozenNetwork) -> "IntervalBounds":
        """Converts a network's tensors to float64."""
        return cls(
            TwoStepTerms(*(term.double() for term in network.terms)),
            network.kernels.flatten(0, 1).double(),
            network.templates.double(),
            network.rows.double(),
        )

    @torch.no_grad()
    def margin(self, images: Tensor, classes: Tensor, epsilon: float | Tensor) -> Tensor:
        """Bounds the margin of the true class over the ball from below.

        Args:
            images: (N, 1, H, W) in [0, 1].
            classes: (N,) the true class indices.
            epsilon: Radius of the L-inf ball, cut with the box [0, 1]; one for all images, or (N,).

        Returns:
            (N,) float64: no image in the ball has a smaller margin.
        """
        _, shapes = self.layers(images, epsilon)
        return margin_lower_bound(shapes, self.rows, classes)

    def layers(self, images: Tensor, epsilon: float | Tensor) -> tuple[Interval, Interval]:
        """Bounds the bright maps (N, 1, H, W) and the activations (N, F) of images over their balls."""
        bright = bright_interval(self.two_step_box(images, epsilon), self._ends)
        return bright, shape_interval(bright, self.templates, self._magnitudes)

    def two_step_box(self, images: Tensor, epsilon: float | Tensor) -> Interval:
        """Returns the exact range of the two-step maps of (N, 1, H, W) images over their balls."""
        radius = torch.as_tensor(epsilon, dtype=torch.float64).view(-1, 1, 1, 1)
        return two_step_interval(images.double(), radius + _OUTWARD, self.terms)

    @cached_property
    def _ends(self) -> Tensor:
        return both_ends(self.kernels)

    @cached_property
    def _magnitudes(self) -> Tensor:
        return self.templates.abs()


def two_step_interval(images: Tensor, epsilon: float | Tensor, terms: TwoStepTerms) -> Interval:
    """Bounds the two-step layer over the ball, exactly: (N, 1, H, W)."""
    lower, upper = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    return Interval(two_step(lower, terms), two_step(upper, terms))


def both_ends(kernels: Tensor) -> Tensor:
    """Returns filters (2 * K, 2, k, k) that map a box's centre and radius to both bounds of K responses.

    Around the centre a response moves by at most |kernel| times the box's radius.
    """
    filters = kernels[:, None]
    return torch.cat([torch.cat([filters, sign * filters.abs()], dim=1) for sign in (-1, 1)])


def bright_interval(pixels: Interval, ends: Tensor) -> Interval:
    """Bounds the bright map (N, 1, H, W) given the two-step map's bounds and `both_ends(kernels)`."""
    side = ends.shape[-1]
    boxes = torch.cat([pixels.lower + pixels.upper, pixels.upper - pixels.lower], dim=1) / 2  # (N, 2, H, W)
    at_once = _IMAGES_IN_CACHE if boxes.device.type == "cpu" else len(boxes)
    best = torch.cat(
        [
            _largest(F.conv2d(piece, ends, padding=side // 2).unflatten(1, (2, -1)))
            for piece in boxes.split(at_once)
        ]
    )  # (N, 2, H, W)
    lower, upper = (best / side).relu().split(1, dim=1)
    return Interval(lower, upper)


def _largest(responses: Tensor) -> Tensor:
    """Returns the maximum over dimension 2; one of several equal ones takes the whole gradient."""
    # amax is faster, but it would share the gradient out among equals, and so train another network.
    return responses.max(dim=2).values if responses.requires_grad else responses.amax(dim=2)


def shape_interval(bright: Interval, templates: Tensor, magnitudes: Tensor | None = None) -> Interval:
    """Bounds the activations (N, F) given the bright map's bounds.

    Args:
        bright: (N, 1, H, W) each.
        templates: (F, P, H, W).
        magnitudes: Their absolute values, if the caller has them already.
    """
    count, poses = templates.shape[:2]
    flat = Interval(bright.lower.flatten(1), bright.upper.flatten(1))
    rows = [each.flatten(2).flatten(0, 1) for each in (templates, magnitudes) if each is not None]
    lower, upper = linear_interval(flat, *rows)  # (N, F * P)
    return Interval(*(bound.view(-1, count, poses).amax(dim=2).relu() for bound in (lower, upper)))


def margin_lower_bounds(shapes: Interval, rows: Tensor, classes: Tensor) -> Tensor:
    """Bounds the margins over each wrong class, (N, classes - 1), given the activations' bounds (N, F).

    logit_t - logit_c = min over poses r of c, max over poses q of t, of (row_tq - row_cr) . shapes.
    """
    margins = shapes.lower.new_empty(len(classes), len(rows) - 1)
    for true in sorted(set(classes.tolist())):
        own = (classes == true).nonzero()[:, 0]  # (n,)
        others = torch.cat([rows[:true], rows[true + 1 :]])  # (C - 1, R, F)
        differences = rows[true] - others[:, :, None]  # (C - 1, R, Q, F)
        box = Interval(shapes.lower[own], shapes.upper[own])
        lower = linear_interval(box, differences.flatten(0, 2)).lower  # (n, (C - 1) * R * Q)
        best = lower.unflatten(1, differences.shape[:3]).amax(dim=3).amin(dim=2)  # (n, C - 1)
        margins = margins.index_copy(0, own, best)
    return margins


def margin_lower_bound(shapes: Interval, rows: Tensor, classes: Tensor) -> Tensor:
    """Bounds the margin over the best wrong class, (N,), given the activations' bounds (N, F)."""
    return margin_lower_bounds(shapes, rows, classes).amin(dim=1)


def linear_interval(values: Interval, weights: Tensor, magnitudes: Tensor | None = None) -> Interval:
    """Bounds values @ weights.T over the box, exactly for each output: (..., I) and (..., O, I).

    `magnitudes` are the absolute weights, if the caller has them already.
    """
    magnitudes = weights.abs() if magnitudes is None else magnitudes
    centre = (values.lower + values.upper) / 2 @ weights.mT
    reach = (values.upper - values.lower) / 2 @ magnitudes.mT
    return Interval(centre - reach, centre + reach)
