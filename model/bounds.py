"""Interval bounds through the four layers, each the tightest that its interval allows.

The two-step layer is monotone in each pixel, so its interval is exact. A kernel's response is linear in the
patch, so its interval is exact; hence so is the upper bound of the maximum over kernels, while its lower
bound is the best of the kernels' lower bounds. The same holds for templates. The margin subtracts the
rows of the logical layer before it bounds: for every pose of a wrong class, the best pose of the right one.

The functions take any floating type and are differentiable: certificates use them in float64
(model/certify.py), training in float32 (training/fit.py).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.two_step import TwoStepTerms, two_step


class Interval(NamedTuple):
    """Element-wise bounds, both of one shape."""

    lower: Tensor
    upper: Tensor


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
