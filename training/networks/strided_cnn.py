"""The small CNN of certified training, to compare with: its margins are bounded by intervals."""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.baselines import Baseline, BaselineConfig


@dataclass(frozen=True)
class StridedCnnConfig(BaselineConfig):
    """A CNN of two strided convolutions and two linear layers.

    Attributes:
        filters: Of the first convolution; the second has twice as many.
        kernel_size: Of both.
        hidden: Units between the linear layers.
    """

    filters: int = 8
    kernel_size: int = 5
    hidden: int = 32


class Box(NamedTuple):
    """All values within `radius` of `centre`, both of one shape."""

    centre: Tensor
    radius: Tensor


class StridedCnn(Baseline):
    """Two convolutions of stride 2 and two linear layers, ReLU between (after Gowal et al. 2018, table 1).

    Strides instead of maxima, since an interval goes through a convolution with less loss.
    """

    def __init__(self, config: StridedCnnConfig) -> None:
        super().__init__()
        self.config = config
        first, second, side = config.filters, 2 * config.filters, config.kernel_size
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, side, stride=2, padding=side // 2)
            for before, after in ((1, first), (first, second))
        )
        quarter = (_half(_half(config.height)), _half(_half(config.width)))
        self.hidden = nn.Linear(second * quarter[0] * quarter[1], config.hidden)
        self.output = nn.Linear(config.hidden, len(config.labels))

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) to logits (N, classes)."""
        seen = image
        for convolution in self.convolutions:
            seen = convolution(seen).relu()  # (N, F, H / 2, W / 2), then (N, 2F, H / 4, W / 4)
        logits: Tensor = self.output(self.hidden(seen.flatten(1)).relu())
        return logits

    def margin_bounds(self, images: Tensor, classes: Tensor, epsilon: float) -> Tensor:
        """Returns lower bounds of the margin over each class within epsilon, 0 for the true one.

        Args:
            images: (N, 1, H, W) in [0, 1].
            classes: (N,) the true class indices.
            epsilon: Radius of the L-inf ball, cut with the box [0, 1].

        Returns:
            (N, classes); the last layer is bounded as differences of its rows (Gowal et al. 2018, sec. 3).
        """
        lower, upper = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
        box = Box((upper + lower) / 2, (upper - lower) / 2)
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)
            box = _relu(_convolved(box, convolution))
        flat = Box(*(part.flatten(1) for part in box))
        hidden = self.hidden
        box = _relu(Box(hidden(flat.centre), F.linear(flat.radius, hidden.weight.abs())))  # (N, units) each
        weight, bias = self.output.weight, self.output.bias
        rows = weight[classes][:, None] - weight  # (N, classes, units)
        centre = (rows @ box.centre[:, :, None])[..., 0] + bias[classes][:, None] - bias
        lost: Tensor = (rows.abs() @ box.radius[:, :, None])[..., 0]
        return centre - lost  # (N, classes)


def _convolved(box: Box, convolution: nn.Conv2d) -> Box:
    spread = F.conv2d(
        box.radius, convolution.weight.abs(), stride=convolution.stride, padding=convolution.padding
    )
    return Box(convolution(box.centre), spread)


def _relu(box: Box) -> Box:
    lower, upper = (box.centre - box.radius).relu(), (box.centre + box.radius).relu()
    return Box((upper + lower) / 2, (upper - lower) / 2)


def _half(side: int) -> int:
    return (side + 1) // 2
