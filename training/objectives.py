"""What a network is trained for, as plain data in a recipe.

An objective turns a batch into a loss. It may depend on how much of the training is done, and draws only
from the generator that it is given: an epoch that is trained again after a kill is the same epoch.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.plugins import Registry, registry_of_classes
from training.data import Dataset

_BATCH = 500


@dataclass(frozen=True)
class Objective(ABC):
    """A loss over batches."""

    @abstractmethod
    def loss(
        self, network: nn.Module, images: Tensor, classes: Tensor, done: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Returns the loss of a batch and the logits (N, classes) that its accuracy is counted on.

        Args:
            network: Maps images to logits; its parameters get the loss's gradient.
            images: (N, 1, H, W) in [0, 1].
            classes: (N,).
            done: Share of the training that is done, in 0..1, for what grows with it.
            generator: The epoch's; the only source of randomness.
        """

    @property
    def radius(self) -> float | None:
        """The radius of the L-inf ball that it trains for, if it does."""
        return None

    def at_radius(self, epsilon: float) -> "Objective":
        """Returns the objective for another radius; for those that have none, itself."""
        return self

    def uses_native_loops(self, network: nn.Module) -> bool:
        """Tells whether most of the time goes to the loops of training/native."""
        return False

    def numbers(self, network: nn.Module, validation: Dataset, done: float) -> dict[str, float]:
        """Returns what an epoch's line in metrics.jsonl holds besides loss and accuracy."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Returns the objective as plain JSON values, with its name as `kind`."""
        return {"kind": type(self).__name__, **asdict(self)}


OBJECTIVES: Registry[type[Objective]] = registry_of_classes("objective", Objective)


@OBJECTIVES.add_own
@dataclass(frozen=True)
class CrossEntropy(Objective):
    """The mean of -log softmax(logits)[class]."""

    def loss(
        self, network: nn.Module, images: Tensor, classes: Tensor, done: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        logits = network(images)
        return F.cross_entropy(logits, classes), logits


@OBJECTIVES.add_own
@dataclass(frozen=True)
class Adversarial(Objective):
    """Cross-entropy on the images that projected gradient descent finds (Madry et al. 2018, eq. 2.1).

    x_0 = clip(x + uniform(-epsilon, epsilon)); x_{i+1} = clip(x_i + step * sign(grad CE(x_i))), where
    clip keeps to the L-inf ball around x and to [0, 1].

    Attributes:
        epsilon: Radius of the ball.
        steps: Steps of the descent.
        step_size: How far a pixel moves in a step.
        random_start: Whether x_0 is drawn from the ball; else it is x.
        ramp: Share of the training over which epsilon and the step grow from 0. Without it a network
            may never leave the plateau where it answers every image alike.
    """

    epsilon: float
    steps: int = 40
    step_size: float = 0.01
    random_start: bool = True
    ramp: float = 0.0

    @property
    def radius(self) -> float:
        return self.epsilon

    def at_radius(self, epsilon: float) -> "Adversarial":
        return replace(self, epsilon=epsilon, step_size=self.step_size * epsilon / self.epsilon)

    def loss(
        self, network: nn.Module, images: Tensor, classes: Tensor, done: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        share = min(1.0, done / self.ramp) if self.ramp else 1.0
        logits = network(self.attack(network, images, classes, share, generator))
        return F.cross_entropy(logits, classes), logits

    def attack(
        self, network: nn.Module, images: Tensor, classes: Tensor, share: float, generator: Generator
    ) -> Tensor:
        """Returns the images (N, 1, H, W) after the descent, within `share` of epsilon."""
        epsilon, step = share * self.epsilon, share * self.step_size
        lower, upper = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
        moved = images
        if self.random_start:
            drawn = torch.rand(images.shape, generator=generator).to(images.device)
            moved = torch.clamp(images + epsilon * (2 * drawn - 1), lower, upper)
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(network(moved), classes), moved)
            moved = torch.clamp(moved.detach() + step * gradient.sign(), lower, upper)
        return moved

    def numbers(self, network: nn.Module, validation: Dataset, done: float) -> dict[str, float]:
        """Returns the accuracy under the objective's own attack with the whole epsilon."""
        generator, correct = torch.Generator().manual_seed(0), 0
        batches = zip(validation.images.split(_BATCH), validation.classes.split(_BATCH), strict=True)
        for images, classes in batches:
            moved = self.attack(network, images, classes, 1.0, generator)
            correct += count_correct(network, moved, classes)
        return {"validation_accuracy_under_attack": round(correct / len(validation), 6)}


@torch.no_grad()
def count_correct(network: nn.Module, images: Tensor, classes: Tensor) -> int:
    """Returns how many images (N, 1, H, W) the network puts into their classes (N,)."""
    batches = zip(images.split(_BATCH), classes.split(_BATCH), strict=True)
    return sum(int((network(some).argmax(dim=1) == truth).sum()) for some, truth in batches)
