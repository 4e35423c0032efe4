"""The network for inference: poses expanded once into plain tensors, and the trace of a prediction."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.layers.affine import match_shapes
from model.layers.convolutional import bright_map
from model.layers.logical import match_classes
from model.layers.two_step import TwoStepTerms, two_step, two_step_slope


@dataclass(frozen=True)
class Trace:
    """Everything that the network computed for N images: an exact explanation.

    After the two-step layer the network is piecewise linear without biases, so for every image and
    class these four sums are all equal to the logit, up to rounding (1e-4):
    `contributions` over shapes, `attribution_bright` and `attribution_two_step` over pixels.

    Attributes:
        logits: (N, classes).
        two_step: (N, H, W), each pixel as OFF (-1), MEH (0) or ON (1) and between.
        bright: (N, H, W), output of the convolutional layer.
        kernel: (N, H, W), index of the winning filter at each pixel.
        rotation: (N, H, W), index of the winning rotation at each pixel.
        shapes: (N, shapes), activation of each affine feature.
        pose: (N, shapes), index of each feature's winning pose.
        templates: (N, shapes, H, W), each feature in its winning pose, of norm 1.
        claim_pose: (N, classes), index of the winning pose of each class: which of its own shapes.
        contributions: (N, classes, shapes), what each shape adds to each logit.
        attribution_bright: (N, classes, H, W), what each pixel of the bright map adds.
        attribution_two_step: (N, classes, H, W), what each pixel of the two-step map adds.
        gradient: (N, classes, H, W), d logit / d image.
    """

    logits: Tensor
    two_step: Tensor
    bright: Tensor
    kernel: Tensor
    rotation: Tensor
    shapes: Tensor
    pose: Tensor
    templates: Tensor
    claim_pose: Tensor
    contributions: Tensor
    attribution_bright: Tensor
    attribution_two_step: Tensor
    gradient: Tensor

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names of the parts, in order; the outputs of `explain.onnx`."""
        return tuple(field.name for field in fields(cls))


class Inference(NamedTuple):
    """What a prediction and its typicality need: logits (N, C) and the bright map (N, 1, H, W)."""

    logits: Tensor
    bright: Tensor


class Expanded(NamedTuple):
    """A network as plain tensors, its poses expanded.

    Attributes:
        terms: The two-step layer's closed form.
        kernels: (filters, rotations, k, k).
        templates: (shapes, poses, H, W).
        rows: (classes, poses, shapes).
    """

    terms: TwoStepTerms
    kernels: Tensor
    templates: Tensor
    rows: Tensor

    def infer(self, image: Tensor) -> Inference:
        """Returns the forward pass of images (N, 1, H, W) in [0, 1]."""
        return self.behind_two_step(two_step(image, self.terms))

    def behind_two_step(self, pixels: Tensor) -> Inference:
        """Returns the forward pass of two-step maps (N, 1, H, W) in [-1, 1]."""
        bright = bright_map(pixels, self.kernels.flatten(0, 1)).value
        shapes = match_shapes(bright, self.templates).activation
        return Inference(match_classes(shapes, self.rows).logit, bright)

    def trace(self, image: Tensor) -> Trace:
        """Returns the forward pass of images (N, 1, H, W) with all intermediate results."""
        pixels = two_step(image, self.terms)
        response = bright_map(pixels, self.kernels.flatten(0, 1))
        shape = match_shapes(response.value, self.templates)
        classes = match_classes(shape.activation, self.rows)

        templates = _chosen(self.templates, shape.pose)  # (N, F, H, W)
        rows = _chosen(self.rows, classes.pose)  # (N, C, F)
        seen = rows * (shape.activation > 0)[:, None]  # a shape that ReLU set to 0 adds nothing
        weight_bright = (seen @ templates.flatten(2)).unflatten(2, image.shape[2:])
        weight_pixels = self._through_kernels(weight_bright, response.value > 0, response.winner)
        rotations = self.kernels.shape[1]
        return Trace(
            logits=classes.logit,
            two_step=pixels[:, 0],
            bright=response.value[:, 0],
            kernel=response.winner[:, 0] // rotations,
            rotation=response.winner[:, 0] % rotations,
            shapes=shape.activation,
            pose=shape.pose,
            templates=templates,
            claim_pose=classes.pose,
            contributions=rows * shape.activation[:, None],
            attribution_bright=weight_bright * response.value,
            attribution_two_step=weight_pixels * pixels,
            gradient=weight_pixels * two_step_slope(image, self.terms),
        )

    def _through_kernels(self, weight: Tensor, active: Tensor, winner: Tensor) -> Tensor:
        """Carries weights on the bright map (N, C, H, W) back to the pixels under the winners.

        Each active pixel y of the bright map spreads weight(y) * kernel / k over its patch.
        """
        side = self.kernels.shape[-1]
        winning = F.embedding(winner.flatten(1), self.kernels.flatten(0, 1).flatten(1)) / side
        taps = (winning * active.flatten(1)[..., None]).transpose(1, 2)  # (N, k * k, H * W)
        spread = weight.flatten(2)[:, :, None] * taps[:, None]  # (N, C, k * k, H * W)
        shape = weight.shape
        return F.fold(spread.flatten(1, 2), shape[2:], side, padding=side // 2)  # (N, C, H, W)


class FrozenNetwork(nn.Module):
    """A trained network as plain tensors; the same logits as the `WhiteBoxNetwork` it came from.

    Args:
        terms: As `Expanded` has it, and so on.
        kernels: (filters, rotations, k, k).
        templates: (shapes, poses, H, W).
        rows: (classes, poses, shapes).
    """

    def __init__(self, terms: TwoStepTerms, kernels: Tensor, templates: Tensor, rows: Tensor) -> None:
        super().__init__()
        for name, value in terms._asdict().items():
            self.register_buffer(f"two_step_{name}", value.detach().clone())
        self.register_buffer("kernels", kernels.detach().clone())
        self.register_buffer("templates", templates.detach().clone())
        self.register_buffer("rows", rows.detach().clone())
        self.kernels: Tensor
        self.templates: Tensor
        self.rows: Tensor

    @property
    def terms(self) -> TwoStepTerms:
        """The closed form of the two-step layer."""
        return TwoStepTerms(*(getattr(self, f"two_step_{name}") for name in TwoStepTerms._fields))

    @property
    def expanded(self) -> Expanded:
        """The tensors."""
        return Expanded(self.terms, self.kernels, self.templates, self.rows)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) in [0, 1] to logits (N, classes)."""
        return self.expanded.infer(image).logits

    def behind_two_step(self, pixels: Tensor) -> Tensor:
        """Maps two-step maps (N, 1, H, W) in [-1, 1] to logits (N, classes)."""
        return self.expanded.behind_two_step(pixels).logits

    def trace(self, image: Tensor) -> Trace:
        """Returns the forward pass of images (N, 1, H, W) with all intermediate results."""
        return self.expanded.trace(image)


def _chosen(expanded: Tensor, pose: Tensor) -> Tensor:
    """Returns each feature in its chosen pose: (F, P, *s) and poses (N, F) give (N, F, *s)."""
    return expanded[torch.arange(expanded.shape[0]), pose]
