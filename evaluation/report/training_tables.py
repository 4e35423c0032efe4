"""Tables of trainings: the seeds of a recipe, and the log of trials of certified training."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from evaluation.harness.suite import certified_epsilons
from evaluation.report.cards import (
    Card,
    by_radius,
    certified,
    precision_at_80_recall,
    ran_whole_suite,
    withstood,
    worst_case,
)
from evaluation.report.page import NOTHING, percent, plain, table

Column = Callable[[Card], float | None]
_SEED_COLUMNS: dict[str, Column] = {
    "clean": lambda card: card["clean"]["accuracy"],
    "pgd-40": lambda card: withstood(card, "pgd-40"),
    "apgd-ce": lambda card: withstood(card, "apgd-ce"),
    "auto": lambda card: withstood(card, "auto"),
    "worst attack": lambda card: worst_case(card) if ran_whole_suite(card) else None,
    "precision at 80% recall": precision_at_80_recall,
}


def _proved_at(radius: float) -> Column:
    return lambda card: certified(card, radius)


def seed_values(by_seed: dict[int, Card]) -> dict[str, list[float]]:
    """Returns the columns of a table of seeds that every one of them was measured for."""
    least, _, whole = certified_epsilons(next(iter(by_radius({str(n): c for n, c in by_seed.items()}))))
    columns = _SEED_COLUMNS | {f"proved, {radius:g}": _proved_at(radius) for radius in (least, whole)}
    read = {name: [value(card) for card in by_seed.values()] for name, value in columns.items()}
    return {name: [v for v in found if v is not None] for name, found in read.items() if None not in found}


def seed_table(by_seed: dict[int, Card]) -> str:
    """Returns a table of all seeds of a recipe, with mean and spread."""
    columns = seed_values(by_seed)
    rows = [
        [str(seed), *(percent(values[place]) for values in columns.values())]
        for place, seed in enumerate(by_seed)
    ]
    if len(by_seed) > 1:
        rows += [
            ["**mean**", *(f"**{percent(mean(values))}**" for values in columns.values())],
            ["standard deviation, points", *(f"± {100 * stdev(v):.2f}" for v in columns.values())],
            ["lowest to highest", *(f"{percent(min(v))} to {percent(max(v))}" for v in columns.values())],
        ]
    return table(["seed", *columns], rows)


def training_log_table(log: Sequence[Card]) -> list[str]:
    """Returns what all trials have in common in words, and the rest as a table in the log's order."""
    measures = list(dict.fromkeys(key for trial in log for key in trial["validation"]))
    common = _common([trial["changes"] for trial in log])
    rows = [
        [
            trial["name"],
            _network(trial["network"]),
            _parameters(trial["network"]),
            _without(trial["changes"], common),
            *(percent(trial["validation"].get(measure)) for measure in measures),
            f"{trial['seconds'] / 60:.1f}" if trial.get("seconds") is not None else NOTHING,
            plain(trial.get("note")),
        ]
        for trial in log
    ]
    words = "Every trial, judged on every tenth digit of the training set; the test set chose nothing."
    shared = f" In all of them: {plain(common)}." if common else ""
    head = ["trial", "network", "parameters", "changes", *measures, "minutes", "note"]
    return [words + shared, table(head, rows, words=("network", "changes", "note"))]


def _common(changes: Sequence[Any]) -> dict[str, Any]:
    if not all(isinstance(one, Mapping) for one in changes) or len(changes) < 2:
        return {}
    first = changes[0]
    return {key: first[key] for key in first if all(one.get(key) == first[key] for one in changes)}


def _without(changes: Any, common: Mapping[str, Any]) -> str:  # noqa: ANN401 (words or numbers by name)
    if not isinstance(changes, Mapping):
        return plain(changes)
    return plain({key: value for key, value in changes.items() if key not in common})


def _network(network: Any) -> str:  # noqa: ANN401 (words or sizes by name)
    if not isinstance(network, Mapping) or "shapes_per_class" not in network:
        return plain(network)
    return (
        "{shapes_per_class} shapes a class, {shape_size}x{shape_size}, {poses} poses; "
        "{kernels} kernels, {kernel_size}x{kernel_size}, {rotations} rotations"
    ).format_map(network)


def _parameters(network: Any) -> str:  # noqa: ANN401
    if not isinstance(network, Mapping):
        return NOTHING
    numbers = network.get("num_parameters", network.get("learnable_numbers"))  # as the log called it before
    return NOTHING if numbers is None else f"{numbers:,}"
