"""Named ways to train a network, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from model.network import NetworkConfig
from training.certified import Certified
from training.errors import TrainingError
from training.networks.ablations import AblationConfig, Component
from training.networks.architectures import Config, config_to_dict
from training.networks.baselines import CnnConfig, LogisticConfig, ThresholdedCnnConfig
from training.objectives import Adversarial, CrossEntropy, Objective
from training.schedules import LinearDecay, OneCycle, Schedule

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


_THREE_OR_FIVE = NetworkConfig(labels=(3, 5), height=28, width=28)
_TEN_DIGITS = replace(_THREE_OR_FIVE, labels=tuple(range(10)))

# The paper names no schedule; without one the last step's noise decides (docs/decisions/0002).
PAPER = Recipe(
    name="paper",
    title="paper",
    network=_THREE_OR_FIVE,
    epochs=15,
    batch_size=200,
    learning_rate=3e-3,
    schedule=LinearDecay(decay_epochs=5),
    weight_decay=3e-6,
    noise=Noise(mean=0.05, std=0.25, probability=0.7),
)

PAPER_10 = replace(PAPER, name="paper-10", title="paper, ten digits", network=_TEN_DIGITS)

# Chosen by certified accuracy on the validation digits: docs/results/certified-training-log.json.
CERTIFIED = Recipe(
    name="certified",
    title="certified",
    network=replace(
        _THREE_OR_FIVE,
        kernel_size=3,
        rotations=8,
        shapes_per_class=13,
        shape_size=10,
        poses=13,
        shape_scatter=3.0,
    ),
    epochs=60,
    batch_size=200,
    learning_rate=1e-2,
    schedule=OneCycle(warm_up=0.2, start=0.02),
    weight_decay=0.0,
    noise=NO_NOISE,
    objective=Certified(),
    start={"two_step.thresholds": (0.35, 0.6)},
)
# Chosen as well: docs/results/certified-10-training-log.json.
CERTIFIED_10 = replace(
    CERTIFIED,
    name="certified-10",
    title="certified, ten digits",
    network=replace(
        _TEN_DIGITS,
        kernel_size=3,
        rotations=8,
        shapes_per_class=10,
        shape_size=12,
        poses=20,
        shape_scatter=3.0,
    ),
    epochs=30,
    learning_rate=8e-3,
    schedule=OneCycle(warm_up=0.1, start=0.02),
    objective=Certified(warm_up=0.0, ramp=0.25),
    start={"two_step.thresholds": (0.42, 0.52)},
    rates={"affine.poses": 4.0, "logical.base": 4.0},
    matmul_precision="medium",
)

LOGISTIC = Recipe(
    name="logistic",
    title="logistic regression",
    network=LogisticConfig(labels=(3, 5), height=28, width=28),
    epochs=15,
    batch_size=200,
    learning_rate=3e-3,
    schedule=LinearDecay(decay_epochs=5),
    weight_decay=0.0,
    noise=NO_NOISE,
    kind="baseline",
)
CNN = replace(
    LOGISTIC,
    name="cnn",
    title="small CNN",
    network=CnnConfig(labels=(3, 5), height=28, width=28),
    epochs=6,
    learning_rate=1e-3,
)

_COMPONENTS: dict[Component, str] = {
    "two-step": "two-step layer",
    "convolution": "convolution",
    "poses": "poses",
}

_BASELINES = (
    LOGISTIC,
    CNN,
    replace(
        CNN,
        name="cnn-thresholded",
        title="small CNN after a threshold at 0.5",
        network=ThresholdedCnnConfig(labels=(3, 5), height=28, width=28, threshold=0.5),
    ),
    replace(
        CNN,
        name="cnn-adversarial",
        title="small CNN, adversarial training",
        epochs=12,
        objective=Adversarial(epsilon=0.3, steps=10, step_size=0.075, ramp=0.5),
    ),
)
_ABLATIONS = (
    *(
        replace(
            PAPER,
            name=f"paper-without-{component}",
            title=f"paper's network without {words}",
            network=AblationConfig(component, _THREE_OR_FIVE),
            kind="ablation",
        )
        for component, words in _COMPONENTS.items()
    ),
    replace(
        PAPER,
        name="paper-without-noise",
        title="paper's network without noise",
        noise=NO_NOISE,
        kind="ablation",
    ),
)

RECIPES = {
    recipe.name: recipe for recipe in (PAPER, PAPER_10, CERTIFIED, CERTIFIED_10, *_BASELINES, *_ABLATIONS)
}


def find_recipe(name: str, epochs: int | None = None) -> Recipe:
    """Returns the recipe of a name, shortened or stretched to `epochs` if given.

    Raises:
        TrainingError: There is no such recipe.
    """
    if name not in RECIPES:
        raise TrainingError(f"There is no recipe {name!r}. Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name] if epochs is None else RECIPES[name].shortened(epochs)
