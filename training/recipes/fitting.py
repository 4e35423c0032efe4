"""A recipe fitted to images that it was not written for: their size, their classes, their number."""

from dataclasses import replace

from model.network import NetworkConfig
from model.package import Label
from training.certified import Certified
from training.data import USUAL_EPSILON
from training.errors import TrainingError
from training.networks.ablations import AblationConfig
from training.networks.architectures import Config
from training.objectives import Objective
from training.recipes.catalogue import CERTIFIED, CERTIFIED_10, PAPER, PAPER_10
from training.recipes.recipe import Recipe

# Of a recipe and its twin for many classes, the second from so many classes on.
_MANY_CLASSES = 5
_FOR_MANY = {PAPER.name: PAPER_10, CERTIFIED.name: CERTIFIED_10}
# A step is worth taking from so many images on; an epoch should have this many, and a training at least that
# many: on 1,458 digits of 8x8 they prove as much as three times as many (92 to 93% at 0.05, either way).
_SMALLEST_BATCH, _STEPS_OF_AN_EPOCH, _LEAST_STEPS = 16, 50, 2000


def fit_to_data(
    recipe: Recipe,
    labels: tuple[Label, ...],
    size: tuple[int, int],
    images: int,
    epsilon: float | None = None,
) -> Recipe:
    """Returns the recipe for other images; for those that it was written for, as it is.

    Shapes keep their share of the image, small images get fewer poses and smaller kernels, and small data
    sets smaller batches and fewer steps.

    Args:
        recipe: Any.
        labels: Of the data.
        size: Height and width of the images.
        images: How many there are to train on.
        epsilon: The radius that the objective is to be trained for; for other images than the recipe's own,
            the usual one.

    Raises:
        TrainingError: There is an epsilon, and the objective has none.
    """
    network = recipe.network.network if isinstance(recipe.network, AblationConfig) else recipe.network
    own = (network.labels, (network.height, network.width))
    if epsilon is not None:
        _check_has_radius(recipe)
    if own == (labels, size):
        return recipe if epsilon is None else replace(recipe, objective=recipe.objective.at_radius(epsilon))
    if len(labels) >= _MANY_CLASSES and recipe.name in _FOR_MANY:
        recipe = replace(_FOR_MANY[recipe.name], name=recipe.name, title=recipe.title)
    batch_size = min(recipe.batch_size, max(_SMALLEST_BATCH, images // _STEPS_OF_AN_EPOCH))
    epochs = _fitted_epochs(recipe, batch_size, images)
    fitted = replace(
        recipe,
        network=_fitted(recipe.network, labels, size),
        objective=_fitted_objective(recipe.objective, epsilon),
        batch_size=batch_size,
    )
    return fitted if epochs == recipe.epochs else fitted.shortened(epochs)


def _check_has_radius(recipe: Recipe) -> None:
    if recipe.objective.radius is None:
        raise TrainingError(
            f"The recipe {recipe.name!r} trains for no radius, so --epsilon says nothing to it; `certified` "
            f"trains for one."
        )


def _fitted_objective(objective: Objective, epsilon: float | None) -> Objective:
    if objective.radius is not None:
        objective = objective.at_radius(epsilon or USUAL_EPSILON)
    # How digits are moved is nothing that other images need bear.
    return replace(objective, moved=0.0) if isinstance(objective, Certified) else objective


def _fitted_epochs(recipe: Recipe, batch_size: int, images: int) -> int:
    in_proportion = recipe.epochs * batch_size / recipe.batch_size
    return max(round(in_proportion), round(_LEAST_STEPS * batch_size / images))


def _fitted(config: Config, labels: tuple[Label, ...], size: tuple[int, int]) -> Config:
    if isinstance(config, AblationConfig):
        network = _fitted(config.network, labels, size)
        assert isinstance(network, NetworkConfig)
        return replace(config, network=network)
    if not isinstance(config, NetworkConfig):
        return replace(config, labels=labels, height=size[0], width=size[1])
    scale = min(size) / min(config.height, config.width)
    return replace(
        config,
        labels=labels,
        height=size[0],
        width=size[1],
        kernel_size=3 if scale < 0.5 else config.kernel_size,
        shape_size=2 * max(2, round(config.shape_size * scale / 2)),  # even: it has a middle between pixels
        poses=max(8, round(config.poses * min(scale, 1.0))),
        shape_scatter=config.shape_scatter * scale,
    )
