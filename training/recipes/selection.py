"""What a training is given: images and the recipe that fits them."""

from collections.abc import Sequence
from typing import NamedTuple

from training.data import Dataset, DataSource, Place, find_source, load_mnist
from training.errors import TrainingError
from training.recipes.overrides import ChosenRecipe
from training.recipes.recipe import Recipe


class Choice(NamedTuple):
    """What is chosen of one's own images.

    Attributes:
        classes: Only these, in this order; None for all.
        size: Height and width to bring the images of a folder to; None for theirs.
        holdout: Share that is held out where the images have no test part of their own.
    """

    classes: Sequence[str] | None = None
    size: tuple[int, int] | None = None
    holdout: float = 0.1


class Selection(NamedTuple):
    """What is trained on, and the recipe that fits it.

    Attributes:
        recipe: Fitted to the images.
        train: To train on.
        validation: To count the accuracy on after each epoch.
        source: Where one's own images were read from; None for MNIST.
        notes: What the user should know of the images.
    """

    recipe: Recipe
    train: Dataset
    validation: Dataset
    source: DataSource | None = None
    notes: Sequence[str] = ()

    @property
    def images(self) -> tuple[Dataset, Dataset]:
        """What is trained on, and what is validated with."""
        return self.train, self.validation


def select(recipe: ChosenRecipe, place: Place, choice: Choice, epsilon: float | None) -> Selection:
    """Returns MNIST for the recipe's own labels, or the images of `place.data` and the recipe fitted to them.

    Args:
        recipe: Before its data is known.
        place: Where the images are.
        choice: Which of them.
        epsilon: Radius to train for, if the recipe trains for one.

    Raises:
        TrainingError: The images cannot be read, or a choice does not go with them.
    """
    if place.data is None:
        if choice.classes or choice.size:
            raise TrainingError("--classes and --size choose from the images of --data; name them.")
        labels = recipe.base.network.labels
        train, validation = (
            load_mnist(split, labels, place.data_dir, place.sample) for split in ("train", "validation")
        )
        return Selection(recipe.fitted(train, epsilon), train, validation)
    if place.data_dir is not None or place.sample:
        raise TrainingError("--data-dir and --sample are MNIST; --data is something else. Leave one out.")
    classes = None if choice.classes is None else list(choice.classes)
    source, notes = find_source(place.data, classes, choice.size, choice.holdout)
    train, validation = (source.load(split) for split in ("train", "validation"))
    fitted = recipe.fitted(train, epsilon)
    return Selection(fitted, train, validation, source, (*notes, _described(fitted, source, len(train))))


def _described(recipe: Recipe, source: DataSource, images: int) -> str:
    labels = ", ".join(str(label) for label in source.labels)
    radius = "" if recipe.objective.radius is None else f", for a radius of {recipe.objective.radius:g}"
    size = f"{source.height} x {source.width} pixels, {len(source.labels)} classes"
    return (
        f"{images:,} images of {size}: {labels}. "
        f"Recipe {recipe.name}{radius}: {recipe.epochs} epochs, {recipe.batch_size} images a step."
    )
