"""Named ways to train a network, as plain data."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from model.network import NetworkConfig
from training.errors import TrainingError


@dataclass(frozen=True)
class Noise:
    """Additive Gaussian noise on a whole batch with some probability, clipped to [0, 1]."""

    mean: float
    std: float
    probability: float


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: cross-entropy, Adam, noise on the images and nothing else.

    Attributes:
        name: What `whitebox train --recipe` calls it.
        network: The network's sizes.
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Adam's.
        decay_epochs: Over this many last epochs the learning rate falls linearly to 0. The paper names
            no schedule; without one the last step's noise decides (docs/decisions/0002).
        weight_decay: Adam's L2 penalty.
        noise: The only augmentation; no attack is run in training.
    """

    name: str
    network: NetworkConfig
    epochs: int
    batch_size: int
    learning_rate: float
    decay_epochs: int
    weight_decay: float
    noise: Noise

    def shortened(self, epochs: int) -> "Recipe":
        """Returns the recipe with another number of epochs, the decay in proportion."""
        decay = max(1, round(self.decay_epochs * epochs / self.epochs))
        return replace(self, epochs=epochs, decay_epochs=decay)

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as plain JSON values."""
        return {**asdict(self), "network": self.network.to_dict()}


PAPER = Recipe(
    name="paper",
    network=NetworkConfig(),
    epochs=15,
    batch_size=200,
    learning_rate=3e-3,
    decay_epochs=5,
    weight_decay=3e-6,
    noise=Noise(mean=0.05, std=0.25, probability=0.7),
)

RECIPES = {recipe.name: recipe for recipe in (PAPER,)}


def find_recipe(name: str, epochs: int | None = None) -> Recipe:
    """Returns the recipe of a name, shortened or stretched to `epochs` if given.

    Raises:
        TrainingError: There is no such recipe.
    """
    if name not in RECIPES:
        raise TrainingError(f"There is no recipe {name!r}. Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name] if epochs is None else RECIPES[name].shortened(epochs)
