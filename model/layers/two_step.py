"""The two-step layer: a pixel becomes OFF, MEH or ON."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class RealValuedFeature:
    """A number that may move within an interval (Satkiewicz 2024, sec. 3.1).

    L(p)(g) = g + p for p in [low, high]; match(d, g) = 1 if d = g else 0. The poses are a continuum,
    so SFmatch has a closed form: 1 if d - base lies in the interval, else 0.
    """

    base: float
    low: float
    high: float

    def sf_match(self, data: Tensor) -> Tensor:
        """Returns 1 where `data` is the base in some pose, else 0; any shape."""
        pose = data - self.base
        return ((self.low <= pose) & (pose <= self.high)).to(data.dtype)


class TwoStepTerms(NamedTuple):
    """A staircase of n steps as a constant and two softsign terms a step, each of shape (2n, 1, 1).

    f(x) = constant + sum over i of height_i * r_i / (scale_i + r_i),
    r_i = clip(slope_i * x + offset_i, 0, limit_i).
    """

    slope: Tensor
    offset: Tensor
    limit: Tensor
    scale: Tensor
    height: Tensor
    constant: Tensor


class TwoStepLayer(nn.Module):
    """A smooth staircase from [0, 1] to [-1, 1] with plateaus OFF, MEH and ON (sec. 4.1).

    With u = 2x - 1 and thresholds t_0 < 0 < t_1 in u, each of the intervals [-1, t_0], [t_0, 0],
    [0, t_1], [t_1, 1] carries a piece of the softsign (u - t) / (s + |u - t|) of its threshold and its
    own scale s, stretched so that f(-1) = -1, f(t_0) = -a_0, f(0) = 0, f(t_1) = a_1, f(1) = 1. Each piece
    is constant outside its interval, so f is their sum: the closed form in `TwoStepTerms`. It is the
    smooth form of three real-valued features and depends on nothing but the pixel itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.full((2,), 0.5))
        self.thresholds = nn.Parameter(torch.tensor([0.25, 0.75]))
        self.scales = nn.Parameter(torch.full((4,), 0.1))

    def terms(self) -> TwoStepTerms:
        """Returns the closed form of the current staircase."""
        off_level, on_level = self.levels
        plateaus = self.levels.new_tensor([-1.0, 0.0, 1.0])
        return staircase(plateaus, self.thresholds, torch.stack([-off_level, on_level]), self.scales)

    def forward(self, image: Tensor) -> Tensor:
        """Maps (N, 1, H, W) in [0, 1] to (N, 1, H, W) in [-1, 1]."""
        return two_step(image, self.terms())

    @torch.no_grad()
    def project_(self) -> None:
        """Clamps the levels, thresholds and scales to the paper's ranges."""
        self.levels.clamp_(0.01, 0.99)
        self.thresholds[0].clamp_(0.01, 0.49)
        self.thresholds[1].clamp_(0.51, 0.99)
        self.scales.clamp_(0.001, 2.0)


def staircase(plateaus: Tensor, thresholds: Tensor, crossings: Tensor, scales: Tensor) -> TwoStepTerms:
    """Returns the closed form of a staircase of n steps.

    With u = 2x - 1, step i is the interval [2i / n - 1, 2 (i + 1) / n - 1] of u.

    Args:
        plateaus: (n + 1,), the values at the ends of the steps; never falling.
        thresholds: (n,) in [0, 1], each inside its step.
        crossings: (n,), the values at the thresholds, each between the two plateaus.
        scales: (2n,), those of the softsigns below and above each threshold.
    """
    ends = torch.linspace(-1, 1, len(plateaus), dtype=plateaus.dtype, device=plateaus.device)
    threshold = 2 * thresholds - 1
    # How far u is from its threshold at the far end of each piece, and how far the piece goes.
    reach = _in_pairs(threshold - ends[:-1], ends[1:] - threshold)
    rise = _in_pairs(plateaus[:-1] - crossings, plateaus[1:] - crossings)
    direction = _in_pairs(-torch.ones_like(threshold), torch.ones_like(threshold))
    # The outer pieces end with the pixel's range, so only the inner ones need a limit.
    limit = torch.cat([reach.new_tensor([2.0]), reach[1:-1], reach.new_tensor([2.0])])
    return TwoStepTerms(
        slope=_column(2 * direction),
        offset=_column(-direction * (1 + threshold.repeat_interleave(2))),
        limit=_column(limit),
        scale=_column(scales),
        height=_column(rise * (scales + reach) / reach),
        constant=crossings.sum() - plateaus[1:-1].sum(),
    )


def _in_pairs(below: Tensor, above: Tensor) -> Tensor:
    """Returns (2n,): of each step the value below its threshold, then the one above."""
    return torch.stack([below, above], dim=1).flatten()


def _column(values: Tensor) -> Tensor:
    return values[:, None, None]


def two_step(image: Tensor, terms: TwoStepTerms) -> Tensor:
    """Applies the closed form: (N, 1, H, W) to (N, 1, H, W)."""
    distance = (image * terms.slope + terms.offset).clamp(max=terms.limit).relu()  # (N, 2n, H, W)
    softsign = distance / (distance + terms.scale)
    return F.conv2d(softsign, terms.height[None]) + terms.constant


def two_step_slope(image: Tensor, terms: TwoStepTerms) -> Tensor:
    """Returns df/dx at each pixel, (N, 1, H, W); the derivative that autograd takes of `two_step`."""
    distance = image * terms.slope + terms.offset  # (N, 2n, H, W)
    inside = ((distance > 0) & (distance <= terms.limit)).to(image.dtype)
    slope = terms.slope * terms.scale / (distance.clamp(max=terms.limit).relu() + terms.scale) ** 2
    return F.conv2d(inside * slope, terms.height[None])
