"""Logit scaling for gradient attacks, so that the softmax of a confident network does not saturate."""

import torch
from torch import Tensor, nn

from model.attacks.budget import margins

# With margins up to this, float32 still holds the probability of the other classes with all its digits;
# above 16.6 it rounds the true class to 1, and its gradient to 0.
_LARGEST_MARGIN = 10.0


class Unsaturated(nn.Module):
    """A network whose logits are divided so that its margins on the given images stay below 10.

    Its predictions are unchanged; with two classes so is the direction of the gradient. A network without
    gradients gets gradients of zero, so that attacks run, in vain, instead of failing.
    """

    def __init__(self, network: nn.Module, images: Tensor, classes: Tensor) -> None:
        super().__init__()
        self.network = network
        with torch.no_grad():
            widest = float(margins(network(images), classes).abs().amax())
        self.divisor = max(1.0, widest / _LARGEST_MARGIN)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, 1, H, W) to logits (N, classes)."""
        logits: Tensor = self.network(images)
        if images.requires_grad and not logits.requires_grad:
            logits = logits + 0 * images.flatten(1)[:, :1]
        return logits if self.divisor == 1.0 else logits / self.divisor
