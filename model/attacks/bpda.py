"""A differentiable surrogate with smooth gradients, for attacks where gradients may be masked.

BPDA (backward pass differentiable approximation, Athalye 2018): forward through the network itself, backward
through a smooth approximation. Two things could mask gradients here: the plateaus of the two-step layer, with
nearly zero derivatives, and the maxima over kernels and poses, whose derivatives ignore all but the
winner.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.frozen import FrozenNetwork
from model.layers.convolutional import IMAGES_IN_CACHE
from model.layers.two_step import TwoStepTerms, two_step

# The slope of the staircase is averaged over this far to each side.
_WINDOW = 0.2


class SmoothSurrogate(nn.Module):
    """A frozen network with its own forward pass, to 1e-5 on the logits, and a smooth backward pass.

    - The two-step layer's slope is the mean slope over a window of +-0.2 around the pixel.
    - The gradient of a maximum is that of softmax(score / T), where T is `temperature` times the largest
      score of the image in that layer.
    - The gradient of ReLU is sigmoid(x / T).
    """

    def __init__(self, network: FrozenNetwork, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (N, 1, H, W) to logits (N, classes)."""
        network = self.network
        pixels = _smooth_two_step(image, network.terms)
        bright = self._bright(pixels, network.kernels.flatten(0, 1))
        templates, rows = network.templates, network.rows
        scores = bright.flatten(1) @ templates.flatten(2).flatten(0, 1).T  # (N, F * P)
        shapes = self._rectified(self._maximum(scores.unflatten(1, templates.shape[:2])), scores)
        claims = shapes @ rows.flatten(0, 1).T  # (N, classes * poses)
        return self._maximum(claims.unflatten(1, rows.shape[:2]))

    def _bright(self, pixels: Tensor, kernels: Tensor) -> Tensor:
        """The bright map (N, 1, H, W); backward, the weighted mean of the kernels stands for the winner."""
        side = kernels.shape[-1]
        pieces = [self._mixed(piece, kernels) for piece in pixels.detach().split(IMAGES_IN_CACHE)]
        best, mixed = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        patches = F.unfold(pixels, side, padding=side // 2)  # (N, k * k, H * W)
        smooth = (patches * mixed).sum(dim=1).view_as(pixels)
        return self._rectified(_straight_through(best, smooth), best) / side

    def _mixed(self, pixels: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the best response (N, 1, H, W) and each patch's mixed kernel (N, k * k, H * W)."""
        responses = F.conv2d(pixels, kernels[:, None], padding=kernels.shape[-1] // 2)  # (N, K, H, W)
        best = responses.amax(dim=1, keepdim=True)
        shares = ((responses - best) / self._width(best)).softmax(dim=1)
        return best, kernels.flatten(1).T @ shares.flatten(2)

    def _maximum(self, scores: Tensor) -> Tensor:
        """The maximum over the last dimension of (N, A, B): (N, A)."""
        width = self._width(scores)
        smooth = (scores * (scores.detach() / width).softmax(dim=2)).sum(dim=2)
        return _straight_through(scores.amax(dim=2), smooth)

    def _rectified(self, values: Tensor, scores: Tensor) -> Tensor:
        width = self._width(scores).view(-1, *[1] * (values.dim() - 1))
        return _straight_through(values.relu(), F.softplus(values / width) * width)

    def _width(self, scores: Tensor) -> Tensor:
        """The temperature of each image, of as many dimensions as the scores."""
        largest = scores.detach().flatten(1).abs().amax(dim=1).clamp(min=1e-6)
        return self.temperature * largest.view(-1, *[1] * (scores.dim() - 1))


def _smooth_two_step(image: Tensor, terms: TwoStepTerms) -> Tensor:
    with torch.no_grad():
        exact = two_step(image, terms)
        lower, upper = (image - _WINDOW).clamp(0, 1), (image + _WINDOW).clamp(0, 1)
        slope = (two_step(upper, terms) - two_step(lower, terms)) / (upper - lower)
    return _straight_through(exact, slope * image)


def _straight_through(value: Tensor, smooth: Tensor) -> Tensor:
    """Returns `value` with the gradient of `smooth`."""
    return smooth + (value - smooth).detach()
