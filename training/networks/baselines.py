"""Ordinary networks to compare with: logistic regression, and a small CNN with or without a threshold."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from model.network_config import Label


@dataclass(frozen=True)
class BaselineConfig:
    """What every baseline has.

    Attributes:
        labels: The label of each logit, in order.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
    """

    labels: tuple[Label, ...]
    height: int
    width: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Reads what `to_dict` wrote."""
        return cls(**{**values, "labels": tuple(values["labels"])})

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON values."""
        return {**asdict(self), "labels": list(self.labels)}


@dataclass(frozen=True)
class LogisticConfig(BaselineConfig):
    """Logistic regression on the pixels."""


@dataclass(frozen=True)
class CnnConfig(BaselineConfig):
    """A CNN of two convolutions and two linear layers.

    Attributes:
        filters: Of the first convolution; the second has twice as many.
        hidden: Units between the linear layers.
    """

    filters: int = 16
    hidden: int = 32


@dataclass(frozen=True)
class ThresholdedCnnConfig(CnnConfig):
    """The same CNN behind a threshold.

    Attributes:
        threshold: Pixels above it become 1 and all others 0, before anything else.
    """

    threshold: float = 0.5


class Baseline(nn.Module):
    """What training and evaluation ask of a network that has nothing inside to look at."""

    def project_(self) -> None:
        """Does nothing: every parameter may take any value."""

    def num_parameters(self) -> int:
        """Returns how many numbers training may change."""
        return sum(parameter.numel() for parameter in self.parameters())


class LogisticRegression(Baseline):
    """logits = W x + b for the flat image x."""

    def __init__(self, config: LogisticConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.height * config.width, len(config.labels))

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) to logits (N, classes)."""
        logits: Tensor = self.linear(image.flatten(1))
        return logits


class SmallCnn(Baseline):
    """Twice 5x5 convolution, ReLU and 2x2 maximum, then two linear layers (after Madry et al. 2018, sec. 5).

    Madry et al. have 32 and 64 filters and 1,024 hidden units for ten digits.
    """

    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.filters, 2 * config.filters
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(1, first, 5, padding=2), nn.Conv2d(first, second, 5, padding=2)]
        )
        self.hidden = nn.Linear(second * (config.height // 4) * (config.width // 4), config.hidden)
        self.output = nn.Linear(config.hidden, len(config.labels))

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) to logits (N, classes)."""
        seen = image
        for convolution in self.convolutions:
            seen = F.max_pool2d(
                convolution(seen).relu(), 2
            )  # (N, F, H / 2, W / 2), then (N, 2F, H / 4, W / 4)
        logits: Tensor = self.output(self.hidden(seen.flatten(1)).relu())
        return logits


class ThresholdedCnn(SmallCnn):
    """A small CNN that sees only which pixels are above a threshold.

    The derivative is 0 wherever it exists, and autograd is told so: attacks by gradient get no direction
    here, which says nothing about how robust the network is (Athalye et al. 2018, "shattered gradients").
    """

    def __init__(self, config: ThresholdedCnnConfig) -> None:
        super().__init__(config)
        self.threshold = config.threshold

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(self.above(image) + 0 * image)

    def above(self, image: Tensor) -> Tensor:
        """Returns 1 where a pixel is above the threshold, else 0."""
        return (image > self.threshold).to(image.dtype)

    def surrogate(self, _temperature: float) -> nn.Module:
        """Returns the same network with the threshold's derivative taken as 1, for attacks (BPDA).

        How smooth a slope would be there changes no sign, so the temperature takes no part.
        """
        return _StraightThrough(self)


class _StraightThrough(nn.Module):
    def __init__(self, network: ThresholdedCnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        slope_of_one = image - image.detach()
        return SmallCnn.forward(self.network, self.network.above(image) + slope_of_one)
