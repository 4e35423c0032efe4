"""The card: everything that an evaluation measured, as plain JSON values."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.harness.checks import Check, run_checks
from evaluation.harness.measurements import Flags, Measurement, Measurements, broken_by_any
from evaluation.harness.reliability import reliability
from evaluation.harness.suite import AUTO, Attack, auto_members, certified_epsilons


def card_results(measurements: Measurements, classes: int, further_checks: list[Check]) -> dict[str, Any]:
    """Returns all of a card that was measured; what did not run is left out, but for `attacks`."""
    rows = measurements.attacks("row")
    card: dict[str, Any] = {
        "clean": {"accuracy": _share(measurements.correct), "correct": int(measurements.correct.sum())},
        "attacks": [*map(_row, rows.values()), *_auto(rows, classes, len(measurements.correct))],
    }
    if rows:
        worst = measurements.worst_case()
        card["worst_case"] = {
            "epsilon": measurements.epsilon,
            "robust_accuracy": _share(worst),
            "withstood": int(worst.sum()),
        }
    certified = _certified(measurements)
    if certified:
        card["certified"] = certified
    curves = _curves(measurements)
    if curves:
        card["accuracy_by_epsilon"] = curves
    card["checks"] = [check.to_dict() for check in [*run_checks(measurements), *further_checks]]
    if "pgd-40" in rows:
        details = rows["pgd-40"].details
        curve = reliability(details["confidence"].tolist(), details["right_after"].tolist())
        card["reliability"] = {"attack": "pgd-40", **curve}
    return card


def robustbench_fields(card: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what RobustBench (Croce et al. 2021) would list of a network.

    Accuracies are percentages as text, as there; link, authors and venue are for whoever publishes it. None
    where AutoAttack did not run on every image.
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
        "clean_acc": f"{100 * card['clean']['accuracy']:.2f}",
        "autoattack_acc": f"{100 * whole[0]['robust_accuracy']:.2f}",
        "additional_data": False,
        "number_forward_passes": 1,
    }


def _row(one: Measurement) -> dict[str, Any]:
    assert isinstance(one.entry, Attack)
    row = _counted(one.entry.name, one.entry.settings.to_dict(), one.withstood, one.seconds)
    if one.skipped:
        row["certified_instead"] = one.skipped
    return {**row, **_distances(one.details)}


def _distances(details: Mapping[str, Any]) -> dict[str, float]:
    """The medians of minimal perturbations, over the images that needed one and got one."""
    if "l2" not in details:
        return {}
    moved = details["l2"] > 0
    return {
        f"median_{norm}": round(float(np.median(details[norm][moved])), 6)
        for norm in ("l2", "linf")
        if moved.any()
    }


def _auto(rows: Mapping[str, Measurement], classes: int, count: int) -> list[dict[str, Any]]:
    """AutoAttack, put together from its members where all of them ran."""
    members = auto_members(classes)
    if any(name not in rows for name in members):
        return []
    ran = [rows[name] for name in members]
    settings = {"members": list(members), "epsilon": ran[0].epsilon, "norm": "linf"}
    withstood = ~broken_by_any(ran, count)
    return [_counted(AUTO, settings, withstood, sum(one.seconds for one in ran))]


def _counted(name: str, settings: dict[str, Any], withstood: Flags, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "settings": settings,
        "count": len(withstood),
        "robust_accuracy": _share(withstood),
        "withstood": int(withstood.sum()),
        "seconds": round(seconds, 1),
    }


def _certified(measurements: Measurements) -> list[dict[str, Any]]:
    return [
        {
            "epsilon": epsilon,
            "bound": "interval",
            "certified_accuracy": _share(one.withstood),
            "certified": int(one.withstood.sum()),
            "milliseconds_an_image": round(1000 * one.seconds / len(one.withstood), 3),
        }
        for epsilon, one in sorted(measurements.certificates().items())
        if epsilon in {*certified_epsilons(measurements.epsilon), measurements.epsilon}
    ]


def _curves(measurements: Measurements) -> list[dict[str, Any]]:
    curves = []
    for name, points in measurements.curves().items():
        indices = next(iter(points.values())).indices
        clean = {"epsilon": 0.0, "accuracy": _share(measurements.correct[indices])}
        curves.append({"attack": name, "points": [clean, *_points(points)], "count": len(indices)})
    certificates = dict(sorted(measurements.certificates().items()))
    if certificates:
        count = len(measurements.correct)
        curves.append({"attack": "certified", "points": _points(certificates), "count": count})
    return curves


def _points(by_epsilon: Mapping[float, Measurement]) -> list[dict[str, float]]:
    return [{"epsilon": e, "accuracy": _share(one.withstood)} for e, one in by_epsilon.items()]


def _share(flags: Flags) -> float:
    return round(float(flags.mean()), 6)
