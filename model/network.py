"""The white-box network: four layers of semantic features, no biases (Satkiewicz 2024, sec. 4)."""

from dataclasses import asdict, dataclass
from typing import Any

from safetensors.torch import load
from torch import Tensor, nn

from model.frozen import Expanded, FrozenNetwork
from model.layers.affine import AffineLayer
from model.layers.convolutional import ConvolutionalLayer
from model.layers.logical import LogicalLayer
from model.layers.two_step import TwoStepLayer
from model.package import WEIGHTS, Label, ModelPackage, with_image_size


@dataclass(frozen=True)
class NetworkConfig:
    """The sizes of a network; the defaults are those of the paper's network.

    Attributes:
        labels: The label of each logit, in order.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        kernels: Filters of the convolutional feature.
        kernel_size: Side of a filter in pixels, odd.
        rotations: Fixed rotations of each filter.
        shapes_per_class: Affine features that speak for each class.
        shape_size: Side of an affine feature's base in pixels.
        poses: Learned poses of each affine feature.
        shape_scatter: How far from the centre affine features start, in pixels (standard deviation).
    """

    labels: tuple[Label, ...]
    height: int
    width: int
    kernels: int = 2
    kernel_size: int = 5
    rotations: int = 32
    shapes_per_class: int = 4
    shape_size: int = 20
    poses: int = 32
    shape_scatter: float = 0.0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "NetworkConfig":
        """Reads what `to_dict` wrote (a package's manifest holds it)."""
        return cls(**{**with_image_size(values), "labels": tuple(values["labels"])})

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON values."""
        return {**asdict(self), "labels": list(self.labels)}


class WhiteBoxNetwork(nn.Module):
    """Two-step, convolutional, affine and logical layer, one after the other."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        classes = len(config.labels)
        shapes = classes * config.shapes_per_class
        size = (config.height, config.width)
        self.two_step = TwoStepLayer()
        self.convolutional = ConvolutionalLayer(config.kernels, config.kernel_size, config.rotations)
        self.affine = AffineLayer(shapes, config.shape_size, config.poses, size, config.shape_scatter)
        self.logical = LogicalLayer(classes, config.shapes_per_class)
        self.project_()

    @classmethod
    def from_package(cls, package: ModelPackage) -> "WhiteBoxNetwork":
        """Builds the network of a model package; its weights are checked against their digest.

        Raises:
            PackageError: The weights are missing or damaged.
        """
        network = cls(NetworkConfig.from_dict(package.manifest["config"]))
        network.load_state_dict(load(package.read(WEIGHTS)))
        return network.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) in [0, 1] to logits (N, classes)."""
        pixels = self.two_step(image)  # (N, 1, H, W) in [-1, 1]
        bright = self.convolutional(pixels)  # (N, 1, H, W)
        shapes = self.affine(bright)  # (N, shapes)
        logits: Tensor = self.logical(shapes)  # (N, classes)
        return logits

    def project_(self) -> None:
        """Projects the parameters of every layer onto their allowed set; called after each training step."""
        for layer in (self.two_step, self.convolutional, self.affine):
            layer.project_()

    def num_parameters(self) -> int:
        """Returns the number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def expand(self) -> Expanded:
        """Returns the network with its poses expanded, as functions of its parameters."""
        return Expanded(
            self.two_step.terms(),
            self.convolutional.expand(),
            self.affine.expand(),
            self.logical.expand(),
        )

    def freeze(self) -> FrozenNetwork:
        """Returns the network with its poses expanded once, detached from this one."""
        return FrozenNetwork(*self.expand())
