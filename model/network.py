"""The white-box network: four layers of semantic features, no biases (Satkiewicz 2024, sec. 4)."""

from safetensors.torch import load
from torch import Tensor, nn

from model.frozen import Expanded, FrozenNetwork
from model.layers.affine import AffineLayer
from model.layers.convolutional import ConvolutionalLayer
from model.layers.logical import LogicalLayer
from model.layers.multi_step import MultiStepLayer
from model.layers.two_step import TwoStepLayer
from model.network_config import NetworkConfig
from model.package import WEIGHTS, ModelPackage, PackageError

__all__ = ["NetworkConfig", "WhiteBoxNetwork"]


class WhiteBoxNetwork(nn.Module):
    """Two-step (or multi-step), convolutional, affine and logical layer, one after the other."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        classes = len(config.labels)
        shapes = classes * config.shapes_per_class
        size = (config.height, config.width)
        self.two_step = TwoStepLayer() if config.steps == 2 else MultiStepLayer(config.steps)
        self.convolutional = ConvolutionalLayer(config.kernels, config.kernel_size, config.rotations)
        self.affine = AffineLayer(shapes, config.shape_size, config.poses, size, config.shape_scatter)
        self.logical = LogicalLayer(classes, config.shapes_per_class)
        self.project_()

    @classmethod
    def from_package(cls, package: ModelPackage) -> "WhiteBoxNetwork":
        """Builds the network of a model package; its weights are checked against their digest.

        Raises:
            PackageError: The weights are missing, damaged, or not those of such a network.
        """
        content = package.read(WEIGHTS)
        try:
            network = cls(package.manifest.config)
            network.load_state_dict(load(content))
        except Exception as error:  # safetensors and torch raise many kinds
            first = str(error).partition("\n")[0][:200]
            raise PackageError(
                f"{package.directory / WEIGHTS} is not of the manifest's network: {first}"
            ) from error
        if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
            raise PackageError(f"{package.directory / WEIGHTS} holds numbers that are not finite.")
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
