"""What a recipe is: how a network is trained, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from training.networks.architectures import Config, config_to_dict
from training.objectives import CrossEntropy, Objective
from training.schedules import Schedule

Kind = Literal["whitebox", "baseline", "ablation"]


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise on a whole batch with some probability, clipped to [0, 1]."""

    mean: float
    std: float
    probability: float


NO_NOISE = Noise(mean=0.0, std=0.0, probability=0.0)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: with Adam, and nothing that is not named here.

    Attributes:
        name: What `whitebox train --recipe` calls it.
        title: What a row of a table calls it.
        network: The network's architecture and sizes.
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Adam's, the largest that the schedule reaches.
        schedule: What the learning rate does over the training.
        weight_decay: Adam's L2 penalty.
        noise: The only augmentation.
        objective: The loss.
        start: Values that named parameters start from, instead of the network's own.
        rates: What the learning rate of named parameters is multiplied by.
        matmul_precision: Of matrix products in a step, as torch names it; "medium" computes in bfloat16 and
            sums in float32 where the processor is faster at it. Epochs are measured at the highest.
        kind: What the network is in a comparison.
    """

    name: str
    title: str
    network: Config
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule
    weight_decay: float
    noise: Noise
    objective: Objective = field(default_factory=CrossEntropy)
    start: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    matmul_precision: Literal["highest", "medium"] = "highest"
    kind: Kind = "whitebox"

    def shortened(self, epochs: int) -> "Recipe":
        """Returns the recipe with another number of epochs, the schedule in proportion."""
        return replace(self, epochs=epochs, schedule=self.schedule.shortened(epochs, self.epochs))

    def learning_rate_at(self, epochs_done: float) -> float:
        """Returns the learning rate of the step at `epochs_done`, with a fraction."""
        return self.learning_rate * self.schedule.factor(epochs_done, self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain JSON values."""
        return {
            **asdict(self),
            "network": config_to_dict(self.network),
            "schedule": self.schedule.to_dict(),
            "objective": self.objective.to_dict(),
            "start": {name: list(values) for name, values in self.start.items()},
            "rates": dict(self.rates),
        }
