"""The sections of charts: what was measured of every network, and how the networks learned."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.harness.suite import certified_epsilons
from evaluation.report import charts
from evaluation.report.cards import (
    ABLATIONS,
    BASELINES,
    Card,
    Cards,
    by_radius,
    certificates,
    certified,
    certified_curve,
    has_masked_gradients,
    precision_at_80_recall,
    radius_of,
    worst_case,
)
from evaluation.report.page import NOTHING, Figure, Section, left_out, names_of, number, percent, table
from evaluation.report.tables import no_cards, worst


def proved(cards: Cards) -> Section:
    """What is proved beside what attacks reach: the truth lies between."""
    title = "Proved beside attacked"
    shown = {n: c for n, c in cards.of_kind("whitebox").items() if c.get("certified")}
    if not shown:
        return Section(title, [no_cards(cards)])
    words = (
        "Attacks give an upper bound of the robust accuracy, certificates a lower one; the images between "
        "them are undecided. Intervals bound every image; the exact stage (attacks, linear bounds, HiGHS) "
        "takes those that intervals leave open, where it was run."
    )
    groups = by_radius(shown)
    parts: list[str | Figure] = [words]
    for radius, group in groups.items():
        file = f"proved-{radius:g}.svg" if len(groups) > 1 else "proved.svg"
        parts += _proved_within(radius, group, file)
    return Section(title, parts)


def _proved_within(radius: float, shown: Mapping[str, Card], file: str) -> Sequence[str | Figure]:
    least = certified_epsilons(radius)[0]
    bars = {
        name: {
            "clean": card["clean"]["accuracy"],
            f"proved, {least:g}": certified(card, least),
            f"withstand the attacks, {radius:g}": worst_case(card),
            f"proved, {radius:g}": certified(card, radius),
        }
        for name, card in shown.items()
    }
    by = ("proved by intervals", "ms an image", "proved with the exact stage", "ms an image")
    head = [f"network, radius {radius:g}", "withstand", *by, "undecided"]
    named = names_of("Accuracy, clean, attacked and proved,", shown)
    rows = [_gap_row(name, card, radius) for name, card in shown.items()]
    return [Figure(file, named, bars, charts.proved_and_attacked), table(head, rows)]


def by_epsilon(cards: Cards) -> Section:
    """Accuracy against epsilon, a panel a network."""
    title = "Accuracy against epsilon"
    lines: dict[str, dict[str, Any]] = {
        name: {"radius": radius_of(card), "lines": _lines_by_epsilon(card)}
        for name, card in cards.of_kind("whitebox", "baseline", "ablation").items()
        if card.get("accuracy_by_epsilon")
    }
    if not lines:
        return Section(title, [no_cards(cards)])
    counts = sorted(
        {line["count"] for of_one in lines.values() for line in of_one["lines"] if "count" in line}
    )
    images = " or ".join(f"{count:,}" for count in counts)
    words = (
        f"Each point on {images} images. The vertical line is the radius of the tables. Certified: what any "
        "bound proves at that radius or a larger one, whose proofs hold in every smaller ball."
    )
    figure = Figure("by-epsilon.svg", names_of(title, lines), lines, charts.accuracy_by_epsilon)
    return Section(title, [words, figure])


def _lines_by_epsilon(card: Card) -> list[Card]:
    """Returns the lines of a card, certificates as they count: proofs at larger radii included."""
    return [
        {**line, "points": certified_curve(card)} if line["attack"] == "certified" else line
        for line in card["accuracy_by_epsilon"]
    ]


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
    radii = " or ".join(f"{radius:g}" for radius in by_radius({name: cards.models[name] for name in found}))
    kinds = {"white-box networks": ("whitebox",), "baselines": ("baseline",)}
    data = {
        kind: {_marked(cards, n): _points(found[n]) for n in cards.of_kind(*members) if n in found}
        for kind, members in kinds.items()
        if any(n in found for n in cards.of_kind(*members))
    }
    words = (
        f"Every image after {next(iter(found.values()))['attack']} at {radii}; the most confident answers "
        "are kept. Precision: how many of those kept are right. Recall: how many of all images are kept and "
        "right; it ends at the accuracy under attack."
    )
    rows = [[_marked(cards, name), percent(precision_at_80_recall(cards.models[name]))] for name in found]
    figure = Figure("reliability.svg", names_of("Precision against recall", found), data, charts.reliability)
    head = ["network", "precision at 80% recall"]
    return Section(title, [words, figure, table(head, rows)])


def learning(cards: Cards) -> Section:
    """Learning curves, the seeds of a recipe drawn together."""
    title = "Learning curves"
    if not cards.metrics:
        missing = f"no *.metrics.jsonl in {cards.directory}"
        if cards.of_others:
            name = cards.first()
            copies = [f"cp {cards.target(name)}/metrics.jsonl {cards.directory}/{name}.metrics.jsonl"]
        else:
            copy = f"cp runs/paper-0/metrics.jsonl {cards.directory}/mnist-3v5-seed-0.metrics.jsonl"
            copies = ["whitebox train --recipe paper --seed 0", copy]
        return Section(title, [left_out(missing, copies)])
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
    figures = [
        Figure("learning.svg", names_of(title, ours), ours, charts.learning),
        Figure("learning-compared.svg", names_of(title, compared), compared, charts.learning_compared),
    ]
    words = "Training accuracy is counted on the images as they are trained on, with their noise."
    return Section(title, [words, *(figure for figure in figures if figure.data)])


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


def _marked(cards: Cards, name: str) -> str:
    return f"{name} (gradients masked)" if has_masked_gradients(cards.models[name]) else name


def _points(curve: Card) -> list[dict[str, float]]:
    return [{key: point[key] for key in ("recall", "precision")} for point in curve["points"]]
