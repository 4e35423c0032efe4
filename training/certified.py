"""Training for proofs: the loss of the worst logits that interval bounds allow, no attack anywhere."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.network import WhiteBoxNetwork
from training import native
from training.augmentation import moved, salt_and_pepper
from training.data import Dataset
from training.errors import TrainingError
from training.fused_bounds import bright_box, margin_bounds, shape_box, templates
from training.networks.strided_cnn import StridedCnn
from training.objectives import OBJECTIVES, Adversarial, Objective

_BATCH = 200


@OBJECTIVES.add_own
@dataclass(frozen=True)
class Certified(Objective):
    """Generalised cross-entropy of the margins that are certain (Gowal et al. 2018; Zhang & Sabuncu 2018).

    With m_c the lower bound of the margin over class c in the ball, p = 1 / (1 + sum of exp(-m_c)) is the
    least probability of the true class that the bounds allow, and the loss is (1 - p^q) / q: for q -> 0
    the cross-entropy, for q = 1 the expected error. A small network cannot certify every digit; q > 0 keeps
    the hopeless ones from deciding where it goes. Epsilon starts at 0, where the bounds are exact.

    Attributes:
        epsilon: Radius of the L-inf ball at the end; a little above the one that counts.
        measured_at: That one: the epsilon of the certified accuracy in metrics.jsonl.
        warm_up: Share of the training with epsilon = 0.
        ramp: Share of the training over which epsilon then grows linearly.
        q: Exponent of the loss at the end.
        q_ramp: Share of the training over which q grows linearly from 0.
        salted: Share of the pixels that are black or white at random in a second, plain cross-entropy: the
            ball holds no such image, and a network that is trained for it alone need not read them.
        salted_weight: Of the second term; 0 leaves it out.
        salted_from: Share of the training without it.
        moved: Share of the images that are moved a little at random, for networks that prove more of the
            training images than of others.
    """

    epsilon: float
    measured_at: float
    warm_up: float = 0.1
    ramp: float = 0.5
    q: float = 0.5
    q_ramp: float = 0.7
    salted: float = 0.0
    salted_weight: float = 0.0
    salted_from: float = 0.0
    moved: float = 0.0

    @property
    def radius(self) -> float:
        return self.measured_at

    def at_radius(self, epsilon: float) -> "Certified":
        return replace(self, epsilon=epsilon * self.epsilon / self.measured_at, measured_at=epsilon)

    def uses_native_loops(self, network: nn.Module) -> bool:
        return isinstance(network, WhiteBoxNetwork) and native.library() is not None

    def loss(
        self, network: nn.Module, images: Tensor, classes: Tensor, done: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        if self.moved:
            images = moved(images, self.moved, generator)
        logits = worst_logits(network, images, classes, self.epsilon * self.grown(done))
        q = self.q * min(1.0, done / self.q_ramp)
        loss = generalised_cross_entropy(logits, classes, q)
        if self.salted_weight and done >= self.salted_from:
            salted = salt_and_pepper(images, self.salted, generator)
            exact = worst_logits(network, salted, classes, 0.0)  # quicker than the network itself
            loss = loss + self.salted_weight * F.cross_entropy(exact, classes)
        return loss, logits

    def grown(self, done: float) -> float:
        """Returns the share of epsilon that is trained for when a share of the training is done."""
        return min(1.0, max(0.0, (done - self.warm_up) / self.ramp))

    def numbers(self, network: nn.Module, validation: Dataset, done: float) -> dict[str, float]:
        certain = count_certified(network, validation, self.measured_at)
        return {"validation_certified_accuracy": round(certain / len(validation), 6)}


@OBJECTIVES.add_own
@dataclass(frozen=True)
class MtlIbp(Certified):
    """A share of `Certified`'s loss and the rest of an attack's: MTL-IBP (De Palma et al. 2024, eq. 8).

    What bounds prove falls with the share, what attacks leave rises. The attack is one step of the whole
    epsilon from a random start (Wong et al. 2020).

    Attributes:
        bounded: The share of the bounds' loss, alpha; with 1 it is `Certified`.
    """

    bounded: float = 0.5

    def loss(
        self, network: nn.Module, images: Tensor, classes: Tensor, done: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        certain, logits = super().loss(network, images, classes, done, generator)
        attack = Adversarial(self.epsilon, steps=1, step_size=self.epsilon)
        found = attack.attack(network, images, classes, self.grown(done), generator)
        attacked = F.cross_entropy(network(found), classes)
        return self.bounded * certain + (1 - self.bounded) * attacked, logits


def worst_logits(network: nn.Module, images: Tensor, classes: Tensor, epsilon: float) -> Tensor:
    """Returns logits (N, classes) whose margins are the lower bounds over the ball; the true class has 0.

    Raises:
        TrainingError: There are no bounds of such a network.
    """
    if isinstance(network, StridedCnn):
        return -network.margin_bounds(images, classes, epsilon)
    if not isinstance(network, WhiteBoxNetwork):
        raise TrainingError("The objective Certified trains white-box networks and strided CNNs only.")
    bright = bright_box(images, epsilon, network.two_step, network.convolutional)
    shapes = shape_box(bright, templates(network.affine))
    return -margin_bounds(shapes, network.logical, classes)


@torch.no_grad()
def count_certified(network: nn.Module, dataset: Dataset, epsilon: float) -> int:
    """Returns how many images keep their class in the ball by interval bounds; a tie is no proof."""
    certified = 0
    batches = zip(dataset.images.split(_BATCH), dataset.classes.split(_BATCH), strict=True)
    for images, classes in batches:
        others = worst_logits(network, images, classes, epsilon).scatter(1, classes[:, None], -torch.inf)
        certified += int((others.amax(dim=1) < 0).sum())
    return certified


def generalised_cross_entropy(logits: Tensor, classes: Tensor, q: float) -> Tensor:
    """Returns the mean of (1 - p^q) / q over the batch, p the softmax at the true class (eq. 6)."""
    entropy = F.cross_entropy(logits, classes, reduction="none")  # -log p, (N,)
    return entropy.mean() if q == 0 else (-torch.expm1(-q * entropy) / q).mean()
