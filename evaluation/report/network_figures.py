"""The sections of images: the parameters of the white-box networks, and images as their layers see them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.report import charts, image_grids
from evaluation.report.cards import SHIPPED, Card, Cards
from evaluation.report.page import Figure, Section, left_out, names_of, number, table
from evaluation.report.paper_comparison import own_and_others
from model.package import Label

_FEW_CLASSES = 4
_OF_EACH_CLASS = 2
# Of neighbouring pixels: that of a stroke is far above, that of noise about 0.
_LEAST_CORRELATION = 0.25


def explanation(cards: Cards) -> Section:
    """One explanation, whole: what this network is about."""
    title = "One explanation"
    known = {name: one for name, one in cards.introspections.items() if "contributions" in one["digits"][0]}
    if not known:
        return _no_introspections(title, cards)
    name, introspection = next(iter(known.items()))
    keys = ("image", "two_step", "bright", "pose", "contributions", "logits")
    digit = introspection["digits"][0]
    data = {
        "digit": {key: digit[key] for key in keys},
        **{key: introspection[key] for key in ("shapes", "config")},
    }
    figure = Figure(
        "explanation.svg", f"The explanation of a {digit['label']}", data, image_grids.explanation
    )
    words = (
        f"A test image of `{name}`, explained by the computation itself: the maps that the layers make, the "
        "shape that adds most to each of the two best classes, laid over the ink, and all that adds up to "
        "their logits. `whitebox explain IMAGE --save explanation.svg` draws the same of any image."
    )
    return Section(title, [words, figure])


def two_step(cards: Cards) -> Section:
    """The two-step function of each network before and after training."""
    title = "The two-step layer"
    if not cards.introspections:
        return _no_introspections(title, cards)
    data = {name: introspection["two_step"] for name, introspection in cards.introspections.items()}
    figure = Figure("two-step.svg", names_of("Two-step functions", data), data, charts.two_steps)
    words = (
        "From here on, what is inside the networks, as `whitebox inside` read it out. A pixel becomes OFF, "
        "MEH or ON; the dotted lines are the thresholds."
    )
    return Section(title, [words, figure, *_missing_introspections(cards)])


def kernels(cards: Cards) -> Section:
    """The kernels in all their rotations."""
    words = (
        "Strokes in any direction: each kernel in its rotations, white adds, black subtracts, grey is zero."
    )
    return _each(
        cards,
        "Kernels in their rotations",
        words,
        "kernels",
        lambda introspection: introspection["kernels"],
        image_grids.kernels,
    )


def bases(cards: Cards) -> Section:
    """The base of every shape."""
    words = "The affine layer's shapes before any pose, a row a class. White adds, black subtracts."
    return _each(
        cards,
        "Base shapes",
        " ".join([words, *_noise_in_words(list(cards.introspections.values()))]),
        "bases",
        lambda introspection: {"bases": introspection["shapes"]["bases"], "config": introspection["config"]},
        image_grids.bases,
    )


def poses(cards: Cards) -> Section:
    """Every shape in all of its poses."""
    words = (
        "Every shape (a row: the class it speaks for, and its number) in its learned poses, what is matched "
        f"with the bright map; of more than {image_grids.MOST_POSES} poses, {image_grids.MOST_POSES} evenly "
        "chosen."
    )
    return _each(
        cards,
        "Shapes in their poses",
        words,
        "poses",
        lambda introspection: {"shapes": introspection["shapes"], "config": introspection["config"]},
        image_grids.poses,
    )


def logical_rows(cards: Cards) -> Section:
    """The weights of the logical layer."""
    section = _each(
        cards,
        "Logical rows",
        "A class is claimed by one of its own shapes, whichever matches best (the white square rolls over "
        "the class's own places), against the weighted sum of all others.",
        "rows",
        lambda introspection: {"rows": introspection["rows"], "config": introspection["config"]},
        image_grids.logical_rows,
    )
    if not cards.introspections:
        return section
    means = {name: own_and_others(introspection) for name, introspection in cards.introspections.items()}
    rows = [[name, number(own, 3), number(others, 3)] for name, (own, others) in means.items()]
    head = ["network", "own shape, mean", "another's shape, mean"]
    return Section(section.title, [*section.parts, table(head, rows)])


def layers(cards: Cards) -> Section:
    """Some images as each layer sees them."""
    words = (
        "The first test images of each class, and the first that is misread. Left of the pictures are the "
        "two largest logits; the last two columns add up to them."
    )
    return _each(cards, "Images as each layer sees them", words, "layers", _layers_data, image_grids.layers)


def nearest_mistakes(cards: Cards) -> Section:
    """The smallest change that the Boundary attack finds."""
    steps = " or ".join(
        f"{n:,}" for n in sorted({one["boundary"]["steps"] for one in cards.introspections.values()})
    )
    words = (
        f"What the Boundary attack (Brendel 2018; {steps} steps from the nearest image "
        "of another class) leaves of a change that still turns the answer; it knows no epsilon. White was "
        "lightened, black darkened."
    )
    return _each(
        cards,
        "The nearest mistakes",
        words,
        "mistakes",
        lambda introspection: {
            "images": [
                {**digit, "mistake": digit["nearest_mistake"]}
                for digit in introspection["digits"]
                if "nearest_mistake" in digit
            ]
        },
        image_grids.mistakes,
    )


def fallen(cards: Cards) -> Section:
    """Images that an attack turns within the radius of the tables."""
    words = (
        "The first test images that are read right, and wrong after projected gradient descent (100 steps) "
        "within the radius that the network is measured at. Would a person still read them?"
    )
    return _each(cards, "Images that fall", words, "fallen", lambda one: one["fallen"], image_grids.mistakes)


def _each(
    cards: Cards,
    title: str,
    words: str,
    file: str,
    data: Callable[[Card], Any],
    draw: Callable[[Any, str], bytes],
) -> Section:
    """Returns a section with a figure for every network that was introspected."""
    if not cards.introspections:
        return _no_introspections(title, cards)
    parts: list[str | Figure] = [words]
    for name, introspection in cards.introspections.items():
        parts += [f"`{name}`:", Figure(f"{name}-{file}.svg", f"{title} of {name}", data(introspection), draw)]
    return Section(title, parts)


def _layers_data(introspection: Card) -> dict[str, Any]:
    """Returns the images that are shown layer by layer: few of each class, and every misread one."""
    keys = ("label", "image", "two_step", "bright", "claims")
    of_class: dict[Label, int] = {}
    digits = []
    for digit in introspection["digits"]:
        of_class[digit["label"]] = of_class.get(digit["label"], 0) + 1
        wrong = digit["claims"][0]["label"] != digit["label"]
        if wrong or len(introspection["labels"]) > _FEW_CLASSES or of_class[digit["label"]] <= _OF_EACH_CLASS:
            digits.append({key: digit[key] for key in keys})
    return {"digits": digits, "shapes": introspection["shapes"], "config": introspection["config"]}


def _no_introspections(title: str, cards: Cards) -> Section:
    return Section(title, _missing_introspections(cards))


def _missing_introspections(cards: Cards) -> list[str]:
    known = cards.of_kind("whitebox") if cards.of_others else [one.name for one in SHIPPED]
    missing = [name for name in known if name not in cards.introspections]
    if not missing:
        return []
    names = ", ".join(f"{name}.inside.json" for name in missing)
    return [left_out(f"no {names}", [cards.introspect_command(name) for name in missing])]


def _noise_in_words(introspections: Sequence[Card]) -> list[str]:
    """Returns what to say of shapes that look like noise, counted; nothing where there are none."""
    counts = [_counts(one) for one in introspections if "contributions" in one["digits"][0]]
    noisy, silent = (sum(values) for values in zip(*counts, strict=True)) if counts else (0, 0)
    if not noisy:
        return []
    return [
        f"Some look like noise: in {noisy} of them neighbouring pixels correlate by less than "
        f"{_LEAST_CORRELATION}, so that they show no stroke. {silent} of the {noisy} add nothing to any "
        "logit of the images [below](#images-as-each-layer-sees-them): an activation below zero counts as "
        "zero and has no gradient, so a shape that answers to no image is no longer corrected, and stays as "
        "chance left it. The others tell ink at a few single pixels."
    ]


def _counts(introspection: Card) -> tuple[int, int]:
    """Returns how many shapes look like noise, and how many of these add nothing to any logit."""
    noisy = np.array([_correlation(np.array(base)) for base in introspection["shapes"]["bases"]])
    added = np.array(
        [digit["contributions"] for digit in introspection["digits"]]
    )  # (digits, classes, shapes)
    is_noisy = noisy < _LEAST_CORRELATION
    return int(is_noisy.sum()), int((np.abs(added[..., is_noisy]).max(axis=(0, 1), initial=0) == 0).sum())


def _correlation(base: NDArray[np.floating]) -> float:
    """Returns the correlation of pixels with their neighbours to the right and below."""
    centred = base - base.mean()
    products = (centred[1:] * centred[:-1]).mean() + (centred[:, 1:] * centred[:, :-1]).mean()
    return float(products / 2 / max(centred.var(), 1e-12))
