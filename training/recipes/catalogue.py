"""The recipes that come with the project, by name."""

from dataclasses import replace

from model.network import NetworkConfig
from model.plugins import Registry
from training.certified import Certified, MtlIbp
from training.errors import TrainingError
from training.networks.ablations import AblationConfig, Component
from training.networks.baselines import CnnConfig, LogisticConfig, ThresholdedCnnConfig
from training.networks.strided_cnn import StridedCnnConfig
from training.objectives import Adversarial
from training.recipes.recipe import NO_NOISE, Noise, Recipe
from training.schedules import CosineRestarts, LinearDecay, OneCycle

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
    epochs=180,
    batch_size=200,
    learning_rate=1e-2,
    schedule=OneCycle(warm_up=0.2, start=0.02),
    weight_decay=0.0,
    noise=NO_NOISE,
    objective=Certified(epsilon=0.305, measured_at=0.3),
    start={"two_step.thresholds": (0.35, 0.6)},
    rates={"logical.base": 4.0},
)
# Chosen as well: docs/results/certified-10-training-log.json.
_TEN_SMALL_SHAPES = replace(
    _TEN_DIGITS,
    kernel_size=3,
    rotations=8,
    shapes_per_class=10,
    shape_size=12,
    poses=20,
    shape_scatter=5.0,
)
CERTIFIED_10 = replace(
    CERTIFIED,
    name="certified-10",
    title="certified, ten digits",
    network=_TEN_SMALL_SHAPES,
    epochs=120,
    learning_rate=5e-3,
    schedule=CosineRestarts(first=80, growth=0.5, decay=0.4),
    objective=Certified(
        epsilon=0.305,
        measured_at=0.3,
        warm_up=0.0,
        ramp=1 / 6,
        q_ramp=7 / 15,
        salted=0.1,
        salted_weight=0.05,
        salted_from=2 / 3,
    ),
    start={"two_step.thresholds": (0.42, 0.52)},
    rates={"logical.base": 12.0},
    matmul_precision="medium",
)
CERTIFIED_10_LARGE = replace(
    CERTIFIED_10,
    name="certified-10-large",
    title="certified, ten digits, 95,926 parameters",
    network=replace(_TEN_SMALL_SHAPES, shapes_per_class=35),
    epochs=44,
    schedule=OneCycle(warm_up=0.1, start=0.02),
    objective=Certified(epsilon=0.305, measured_at=0.3, warm_up=0.0, ramp=0.25),
)
CERTIFIED_10_SMALL = replace(
    CERTIFIED_10_LARGE,
    name="certified-10-small",
    title="certified, ten digits, 4,766 parameters",
    network=replace(_TEN_SMALL_SHAPES, shapes_per_class=3, shape_size=10, poses=8),
    epochs=60,
)

FASHION_LABELS = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
# Cloth has more greys than ink: docs/results/fashion-training-log.json, docs/decisions/0020.
FASHION = replace(
    PAPER,
    name="fashion",
    title="paper, Fashion-MNIST",
    network=replace(_TEN_DIGITS, labels=FASHION_LABELS, rotations=16, shapes_per_class=8, steps=4),
    epochs=7,
    schedule=LinearDecay(decay_epochs=3),
    noise=Noise(mean=0.0, std=0.1, probability=0.5),
)
FASHION_CERTIFIED = replace(
    CERTIFIED_10,
    name="fashion-certified",
    title="certified, Fashion-MNIST",
    network=replace(_TEN_SMALL_SHAPES, labels=FASHION_LABELS, steps=4, shape_scatter=3.0),
    epochs=16,
    learning_rate=8e-3,
    schedule=OneCycle(warm_up=0.1, start=0.02),
    rates={"affine.poses": 4.0, "logical.base": 4.0},
    objective=Certified(epsilon=0.09, measured_at=0.1, warm_up=0.0, ramp=0.25),
    start={},
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

# What the parameter front (docs/evaluation.md) is compared with: interval bounds of an ordinary network.
_SMALL_CNN = StridedCnnConfig(labels=tuple(range(10)), height=28, width=28)
_IBP = replace(
    LOGISTIC,
    network=_SMALL_CNN,
    epochs=60,
    learning_rate=2e-3,
    schedule=OneCycle(warm_up=0.1, start=0.1),
    objective=Certified(epsilon=0.305, measured_at=0.3, warm_up=0.05, ramp=0.4),
)
_STRIDED_CNNS = tuple(
    replace(
        _IBP,
        name=f"cnn-ibp-{size}",
        title=f"small CNN, interval bounds, {size.upper()}",
        network=replace(_SMALL_CNN, filters=filters, kernel_size=kernel_size, hidden=hidden),
    )
    for size, filters, kernel_size, hidden in (("5k", 4, 3, 10), ("27k", 8, 5, 30), ("96k", 16, 5, 52))
)

# The same with an attack in the loss, an equal share of both (De Palma et al. 2024).
_MTL_IBP = MtlIbp(epsilon=0.305, measured_at=0.3, warm_up=0.05, ramp=0.4)
_ATTACKED_CNNS = tuple(
    replace(
        recipe,
        name=recipe.name.replace("ibp", "mtl-ibp"),
        title=recipe.title.replace("interval bounds", "interval bounds and an attack"),
        objective=_MTL_IBP,
    )
    for recipe in _STRIDED_CNNS
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

RECIPES: Registry[Recipe] = Registry(
    "recipe",
    "a training.recipes.Recipe",
    lambda value: isinstance(value, Recipe),
    lambda recipe: recipe.name,
    own=(
        *(
            PAPER,
            PAPER_10,
            CERTIFIED,
            CERTIFIED_10,
            CERTIFIED_10_LARGE,
            CERTIFIED_10_SMALL,
            FASHION,
            FASHION_CERTIFIED,
        ),
        *_BASELINES,
        *_STRIDED_CNNS,
        *_ATTACKED_CNNS,
        *_ABLATIONS,
    ),
)


def find_recipe(name: str, epochs: int | None = None) -> Recipe:
    """Returns the recipe of a name, shortened or stretched to `epochs` if given.

    Raises:
        TrainingError: There is no such recipe.
    """
    if name not in RECIPES:
        raise TrainingError(
            f"There is no recipe {name!r}. Recipes: {', '.join(RECIPES)}; --plugin brings others."
        )
    return RECIPES[name] if epochs is None else RECIPES[name].shortened(epochs)
