"""The sections of pictures: curves of what was measured, and what is inside the white-box networks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation.report import charts, image_grids
from evaluation.report.cards import (
    ABLATIONS,
    BASELINES,
    SHIPPED,
    Card,
    Cards,
    certificates,
    certified,
    precision_at_80_recall,
    worst_case,
)
from evaluation.report.page import NOTHING, Figure, Section, left_out, number, percent, table
from evaluation.report.paper_comparison import own_and_others
from evaluation.report.tables import RADII, no_cards, worst

_FEW_CLASSES = 4
_OF_EACH_CLASS = 2


def proved(cards: Cards) -> Section:
    """What is proved beside what attacks reach: the truth lies between."""
    title = "Proved beside attacked"
    shown = {n: c for n, c in cards.of_kind("whitebox").items() if c.get("certified")}
    if not shown:
        return Section(title, [no_cards(cards)])
    radius = RADII[-1]
    bars = {
        name: {
            "clean": card["clean"]["accuracy"],
            "withstand the attacks, 0.3": worst_case(card),
            **{f"proved, {r}": certified(card, r) for r in (radius, RADII[0])},
        }
        for name, card in shown.items()
    }
    rows = [_gap_row(name, card, radius) for name, card in shown.items()]
    words = (
        "Attacks give an upper bound of the robust accuracy, certificates a lower one; the digits between "
        "them are undecided. Intervals bound every digit; the exact stage (attacks, planes, HiGHS) takes "
        "those that intervals leave open, where it was run."
    )
    by = ("proved by intervals", "ms a digit", "proved with the exact stage", "ms a digit")
    head = [f"network, radius {radius}", "withstand", *by, "undecided"]
    named = _words("Accuracy, clean, attacked and proved,", shown)
    picture = Figure("proved.svg", named, bars, charts.proved_and_attacked)
    return Section(title, [words, picture, table(head, rows)])


def by_epsilon(cards: Cards) -> Section:
    """Accuracy against epsilon, a panel a network."""
    title = "Accuracy against epsilon"
    lines = {
        name: card["accuracy_by_epsilon"]
        for name, card in cards.of_kind("whitebox", "baseline", "ablation").items()
        if card.get("accuracy_by_epsilon")
    }
    if not lines:
        return Section(title, [no_cards(cards)])
    counts = sorted({line["count"] for of_one in lines.values() for line in of_one if "count" in line})
    digits = " or ".join(f"{count:,}" for count in counts)
    words = f"Each point on {digits} digits. The line at 0.3 is the radius of the tables." if counts else ""
    picture = Figure("by-epsilon.svg", _words(title, lines), lines, charts.accuracy_by_epsilon)
    return Section(title, [words, picture])


def reliability(cards: Cards) -> Section:
    """Precision against recall under attack."""
    title = "Reliability"
    found = {
        name: card["reliability"]
        for name, card in cards.of_kind("whitebox", "baseline").items()
        if card.get("reliability")
    }
    if not found:
        return Section(title, [no_cards(cards)])
    kinds = {"white-box networks": ("whitebox",), "baselines": ("baseline",)}
    data = {
        kind: {n: _points(found[n]) for n in cards.of_kind(*members) if n in found}
        for kind, members in kinds.items()
        if any(n in found for n in cards.of_kind(*members))
    }
    words = (
        f"Every digit after {next(iter(found.values()))['attack']} at 0.3; the most confident answers are "
        "kept. Precision: how many of those kept are right. Recall: how many of all digits are kept and "
        "right; it ends at the accuracy under attack."
    )
    rows = [[name, percent(precision_at_80_recall(cards.models[name]))] for name in found]
    picture = Figure("reliability.svg", _words("Precision against recall", found), data, charts.reliability)
    head = ["network", "precision at 80% recall"]
    return Section(title, [words, picture, table(head, rows)])


def learning(cards: Cards) -> Section:
    """Learning curves, the seeds of a recipe drawn together."""
    title = "Learning curves"
    if not cards.metrics:
        missing = f"no *.metrics.jsonl in {cards.directory}"
        copy = f"cp runs/paper-0/metrics.jsonl {cards.directory}/mnist-3v5-seed-0.metrics.jsonl"
        return Section(title, [left_out(missing, ["whitebox train --recipe paper --seed 0", copy])])
    compared = {
        words: runs
        for words, group in (("baselines", BASELINES), ("ablations", ABLATIONS))
        if (runs := {one.name: cards.metrics[one.name] for one in group if one.name in cards.metrics})
    }
    groups: dict[str, dict[str, Any]] = {}
    for name, epochs in cards.metrics.items():
        if not any(name in runs for runs in compared.values()):
            groups.setdefault(name.split("-seed-")[0], {})[name] = epochs
    ours = {f"{group}, {len(runs)} runs" if len(runs) > 1 else group: runs for group, runs in groups.items()}
    pictures = [
        Figure("learning.svg", _words(title, ours), ours, charts.learning),
        Figure("learning-compared.svg", _words(title, compared), compared, charts.learning_compared),
    ]
    words = "Training accuracy is counted on the images as they are trained on, with their noise."
    return Section(title, [words, *(picture for picture in pictures if picture.data)])


def two_step(cards: Cards) -> Section:
    """The two-step function of each network before and after training."""
    title = "The two-step layer"
    if not cards.introspections:
        return _no_introspections(title, cards)
    data = {name: introspection["two_step"] for name, introspection in cards.introspections.items()}
    picture = Figure("two-step.svg", _words("Two-step functions", data), data, charts.two_steps)
    words = (
        "From here on, what is inside the networks, as `whitebox inside` read it out. A pixel becomes OFF, "
        "MEH or ON; the dotted lines are the thresholds."
    )
    return Section(title, [words, picture, *_missing_introspections(cards)])


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
        words,
        "bases",
        lambda introspection: {"bases": introspection["shapes"]["bases"], "config": introspection["config"]},
        image_grids.bases,
    )


def poses(cards: Cards) -> Section:
    """Every shape in all of its poses."""
    words = (
        "Every shape (a row: the digit it speaks for, and its number) in its learned poses, what is matched "
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
    """Some digits as each layer sees them."""
    words = (
        "The first test digits of each class, and the first that is misread. Left of the pictures are the "
        "two largest logits; the last two columns add up to them."
    )
    return _each(cards, "Digits as each layer sees them", words, "layers", _layers_data, image_grids.layers)


def nearest_mistakes(cards: Cards) -> Section:
    """The smallest change that the Boundary attack finds."""
    steps = " or ".join(
        f"{n:,}" for n in sorted({one["boundary"]["steps"] for one in cards.introspections.values()})
    )
    words = (
        f"What the Boundary attack (Brendel 2018; {steps} steps from the nearest digit "
        "of another class) leaves of a change that still turns the answer; it knows no epsilon. White was "
        "lightened, black darkened."
    )
    return _each(
        cards,
        "The nearest mistakes",
        words,
        "mistakes",
        lambda introspection: {
            "digits": [digit for digit in introspection["digits"] if "nearest_mistake" in digit]
        },
        image_grids.nearest_mistakes,
    )


def _each(
    cards: Cards,
    title: str,
    words: str,
    file: str,
    data: Callable[[Card], Any],
    draw: Callable[[Any, str], bytes],
) -> Section:
    """Returns a section with a picture for every network that was looked into."""
    if not cards.introspections:
        return _no_introspections(title, cards)
    parts: list[str | Figure] = [words]
    for name, introspection in cards.introspections.items():
        parts += [f"`{name}`:", Figure(f"{name}-{file}.png", f"{title} of {name}", data(introspection), draw)]
    return Section(title, parts)


def _layers_data(introspection: Card) -> dict[str, Any]:
    """Returns the digits that are shown layer by layer: few of each class, and every misread one."""
    keys = ("label", "image", "two_step", "bright", "claims")
    of_class: dict[int, int] = {}
    digits = []
    for digit in introspection["digits"]:
        of_class[digit["label"]] = of_class.get(digit["label"], 0) + 1
        wrong = digit["claims"][0]["label"] != digit["label"]
        if wrong or len(introspection["labels"]) > _FEW_CLASSES or of_class[digit["label"]] <= _OF_EACH_CLASS:
            digits.append({key: digit[key] for key in keys})
    return {"digits": digits, "shapes": introspection["shapes"], "config": introspection["config"]}


def _gap_row(name: str, card: Card, radius: float) -> list[str]:
    attacked, sure, bounds = worst_case(card), certified(card, radius), certificates(card, radius)
    undecided = attacked - sure if attacked is not None and sure is not None else None
    cells = [
        cell
        for bound in ("interval", "exact")
        for cell in (
            percent(bounds[bound]["certified_accuracy"] if bound in bounds else None),
            number(bounds[bound]["milliseconds_an_image"], 1) if bound in bounds else NOTHING,
        )
    ]
    return [name, worst(card), *cells, percent(undecided)]


def _points(curve: Card) -> list[dict[str, float]]:
    return [{key: point[key] for key in ("recall", "precision")} for point in curve["points"]]


def _words(what: str, names: Sequence[str] | Mapping[str, Any]) -> str:
    return f"{what} of {', '.join(names)}"


def _no_introspections(title: str, cards: Cards) -> Section:
    return Section(title, _missing_introspections(cards))


def _missing_introspections(cards: Cards) -> list[str]:
    missing = [one.name for one in SHIPPED if one.name not in cards.introspections]
    if not missing:
        return []
    names = ", ".join(f"{name}.inside.json" for name in missing)
    return [left_out(f"no {names}", [cards.introspect_command(name) for name in missing])]
