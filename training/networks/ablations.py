"""The white-box network with one of its parts missing, to see what the part is good for."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.frozen import FrozenNetwork
from model.layers.affine import AffineLayer
from model.layers.convolutional import ConvolutionalLayer
from model.layers.multi_step import MultiStepLayer
from model.layers.two_step import TwoStepLayer
from model.network import NetworkConfig, WhiteBoxNetwork
from model.package import Label

Component = Literal["two-step", "convolution", "poses"]


@dataclass(frozen=True)
class AblationConfig:
    """A white-box network and what it goes without.

    Attributes:
        without: "two-step": pixels are only stretched to [-1, 1]. "convolution": shapes are matched with
            the two-step map itself. "poses": every shape stays where its base is, every kernel as it is.
        network: The whole network's sizes.
    """

    without: Component
    network: NetworkConfig

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each logit, in order."""
        return self.network.labels

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AblationConfig":
        """Reads what `to_dict` wrote."""
        return cls(values["without"], NetworkConfig.from_dict(values["network"]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON values."""
        return {"without": self.without, "network": self.network.to_dict()}


class AblatedNetwork(nn.Module):
    """The layers of a `WhiteBoxNetwork` but for one part; the others start from the same values as there."""

    def __init__(self, config: AblationConfig) -> None:
        super().__init__()
        self.config = config
        whole = WhiteBoxNetwork(_sizes(config))
        self.two_step: nn.Module = Stretch() if config.without == "two-step" else whole.two_step
        self.convolutional: nn.Module = (
            nn.Identity() if config.without == "convolution" else whole.convolutional
        )
        self.affine, self.logical = whole.affine, whole.logical
        if config.without == "poses":
            rest = torch.eye(2, 3).expand_as(self.affine.poses).clone()
            self.affine.poses = nn.Parameter(rest, requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) in [0, 1] to logits (N, classes)."""
        bright = self.convolutional(self.two_step(image))  # (N, 1, H, W)
        logits: Tensor = self.logical(self.affine(bright))  # (N, classes)
        return logits

    def freeze(self) -> FrozenNetwork | None:
        """Returns the network as plain tensors if all four layers are there, else None."""
        two_step, convolutional = self.two_step, self.convolutional
        if isinstance(two_step, (TwoStepLayer, MultiStepLayer)) and isinstance(
            convolutional, ConvolutionalLayer
        ):
            rows = self.logical.expand()
            return FrozenNetwork(two_step.terms(), convolutional.expand(), self.affine.expand(), rows)
        return None

    def project_(self) -> None:
        """Brings the layers that are there back into their allowed sets."""
        for layer in self.children():
            if isinstance(layer, (TwoStepLayer, MultiStepLayer, ConvolutionalLayer, AffineLayer)):
                layer.project_()

    def num_parameters(self) -> int:
        """Returns how many numbers training may change."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def _sizes(config: AblationConfig) -> NetworkConfig:
    return replace(config.network, rotations=1, poses=1) if config.without == "poses" else config.network


class Stretch(nn.Module):
    """Maps [0, 1] linearly to the two-step layer's range: x to 2x - 1."""

    def forward(self, image: Tensor) -> Tensor:
        """Maps any shape to the same shape."""
        return 2 * image - 1
