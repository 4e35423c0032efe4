"""The card of `whitebox certify`: how many digits no attack can turn, by interval bounds."""

import time
from typing import Any

from rich.progress import Progress

from model.certify import Certifier
from model.frozen import FrozenNetwork
from training.data import Digits
from training.versions import code_versions

_CERTIFY_BATCH = 16


def certified_accuracy(
    network: FrozenNetwork, digits: Digits, epsilons: list[float], quiet: bool = False
) -> list[dict[str, Any]]:
    """Returns for each epsilon how many digits no attack within it can turn (model/certify.py)."""
    certifier, results = Certifier.of(network), []
    with Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("certifying", total=len(digits) * len(epsilons))
        for epsilon in epsilons:
            started, count = time.perf_counter(), 0
            for images, classes in zip(
                digits.images.split(_CERTIFY_BATCH), digits.classes.split(_CERTIFY_BATCH), strict=True
            ):
                count += int(certifier.certified(images, classes, epsilon).sum())
                progress.advance(task, len(images))
            results.append(
                {
                    "norm": "linf",
                    "epsilon": epsilon,
                    "certified_accuracy": round(count / len(digits), 6),
                    "certified": count,
                    "milliseconds_an_image": round(1000 * (time.perf_counter() - started) / len(digits), 3),
                }
            )
    return results


def make_certified_card(
    name: str, network: FrozenNetwork, digits: Digits, epsilons: list[float], quiet: bool = False
) -> dict[str, Any]:
    """Returns the card of certified accuracy, by interval bounds."""
    return {
        "model": name,
        "code": code_versions(),
        "data": {"source": digits.source, "count": len(digits), "sha256": digits.digest},
        "bound": "interval",
        "certified": certified_accuracy(network, digits, epsilons, quiet),
    }
