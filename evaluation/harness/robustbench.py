"""A card's numbers in the fields of RobustBench's model files (Croce et al. 2021)."""

from collections.abc import Mapping
from typing import Any

from evaluation.harness.suite import AUTO


def robustbench_fields(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what RobustBench would list of a network; None where AutoAttack did not run on every image.

    Accuracies are percentages as text, as there. Link, authors and venue are for whoever publishes it.
    """
    whole = [row for row in card["attacks"] if row["name"] == AUTO and row["count"] == card["data"]["count"]]
    if not whole:
        return None
    return {
        "name": card["model"],
        "dataset": card["data"]["source"].partition(",")[0].lower(),
        "threat_model": "Linf",
        "eps": f"{whole[0]['settings']['epsilon']:g}",
        "architecture": f"{card['title']}, {card['num_parameters']:,} parameters",
        "clean_acc": _percent(card["clean"]["accuracy"]),
        "autoattack_acc": _percent(whole[0]["robust_accuracy"]),
        "additional_data": False,
        "number_forward_passes": 1,
    }


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
