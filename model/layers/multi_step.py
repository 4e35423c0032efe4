"""The multi-step layer: a pixel becomes one of any number of learned levels."""

import torch
from torch import Tensor, nn

from model.layers.two_step import TwoStepTerms, staircase, two_step

_MARGIN = 0.02  # of a step, between a threshold and the step's ends


class MultiStepLayer(nn.Module):
    """A smooth staircase from [0, 1] to [-1, 1] with n steps between n + 1 plateaus.

    The two-step layer (Satkiewicz 2024, sec. 4.1) has the plateaus OFF, MEH and ON, which suits ink; cloth
    has more than three greys. With u = 2x - 1, plateau k has the value v_k at u = 2k / n - 1: v_0 = -1 and
    v_n = 1, those between are learned. Step i climbs from v_i to v_{i+1} around a threshold t_i inside its
    interval, where it has done the share l_i of its height, in two pieces of the softsign, a scale each.

    Thresholds move within their steps and plateaus up and down, never past one another; a step may end with
    height 0. So f never falls, and its closed form is a sum of one clipped softsign a piece, as the two-step
    layer's: two steps with v_1 = 0, l_0 = 1 - a_0 and l_1 = a_1 are that layer.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.plateaus = nn.Parameter(torch.linspace(-1, 1, steps + 1)[1:-1].clone())
        self.levels = nn.Parameter(torch.full((steps,), 0.5))
        self.thresholds = nn.Parameter((torch.arange(steps) + 0.5) / steps)
        self.scales = nn.Parameter(torch.full((2 * steps,), 0.2 / steps))

    def terms(self) -> TwoStepTerms:
        """Returns the closed form of the current staircase."""
        end = self.plateaus.new_ones(1)
        plateaus = torch.cat([-end, self.plateaus, end])  # (n + 1,)
        crossings = plateaus[:-1] + self.levels * (plateaus[1:] - plateaus[:-1])  # (n,)
        return staircase(plateaus, self.thresholds, crossings, self.scales)

    def forward(self, image: Tensor) -> Tensor:
        """Maps (N, 1, H, W) in [0, 1] to (N, 1, H, W) in [-1, 1]."""
        return two_step(image, self.terms())

    @torch.no_grad()
    def project_(self) -> None:
        """Clamps levels, thresholds and scales to their ranges and keeps the plateaus in order."""
        steps = len(self.levels)
        start = torch.arange(steps, device=self.levels.device) / steps
        self.plateaus.copy_(self.plateaus.clamp(-1, 1).cummax(dim=0).values)
        self.levels.clamp_(0.01, 0.99)
        self.thresholds.clamp_(start + _MARGIN / steps, start + (1 - _MARGIN) / steps)
        self.scales.clamp_(0.001, 2.0)
