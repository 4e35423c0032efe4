"""The log of trials of certified training as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.cards import Card
from evaluation.report.page import NOTHING, percent, plain, table


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
