"""Measuring a trained network: clean accuracy and accuracy under attack, as a JSON card."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

from model.attacks import catalogue
from model.attacks.ball import Ball
from model.attacks.settings import ATTACKS, AttackSettings
from model.certify import Certifier
from model.frozen import FrozenNetwork
from training.data import Digits
from training.errors import TrainingError
from training.versions import code_versions

_BATCH = 200
_CERTIFY_BATCH = 16
# The decision-based attacks start from images that an attack on one digit draws.
_NEED_STARTS = ("boundary", "hopskipjump")


@dataclass(frozen=True)
class Robustness:
    """How many of the images withstood an attack."""

    settings: AttackSettings
    withstood: int
    count: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as plain JSON values."""
        return {
            "settings": self.settings.to_dict(),
            "robust_accuracy": round(self.withstood / self.count, 6),
            "withstood": self.withstood,
            "seconds": round(self.seconds, 1),
        }


def find_attacks(names: list[str], epsilon: float) -> list[AttackSettings]:
    """Returns the settings of attacks in an L-inf ball, steps as the literature has them.

    Raises:
        TrainingError: There is no such attack for a batch.
    """
    known: dict[str, AttackSettings] = {
        name: AttackSettings(name, "linf", epsilon) for name in ATTACKS if name not in _NEED_STARTS
    }
    for name in names:
        if name not in known:
            raise TrainingError(f"There is no attack {name!r} for many digits. Attacks: {', '.join(known)}.")
    return [known[name] for name in names]


def make_card(
    name: str,
    network: FrozenNetwork,
    digits: Digits,
    attacks: list[AttackSettings],
    quiet: bool = False,
) -> dict[str, Any]:
    """Returns the card: what was measured, on which digits, with which settings and code."""
    batches = -(-len(digits) // _BATCH)
    with Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("evaluating", total=batches * len(attacks))
        results = [
            robustness(network, digits, settings, lambda: progress.advance(task)) for settings in attacks
        ]
    right = int(_correct(network, digits.images, digits.classes).sum())
    return {
        **_card_head(name, digits),
        "clean": {"accuracy": round(right / len(digits), 6), "correct": right},
        "attacks": [result.to_dict() for result in results],
    }


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
        **_card_head(name, digits),
        "bound": "interval",
        "certified": certified_accuracy(network, digits, epsilons, quiet),
    }


def robustness(
    network: FrozenNetwork,
    digits: Digits,
    settings: AttackSettings,
    after_batch: Callable[[], None],
) -> Robustness:
    """Attacks every digit once; a digit withstands if it is classified right before and after.

    What an attack returns is brought into the ball before it is judged.
    """
    started, withstood = time.perf_counter(), 0
    batches = zip(digits.images.split(_BATCH), digits.classes.split(_BATCH), strict=True)
    for images, classes in batches:
        found = catalogue.run(catalogue.Target(network, images, classes), settings)
        inside = torch.cat(
            [
                Ball(image[None], settings.epsilon, settings.norm).project(other[None])
                for image, other in zip(images, found, strict=True)
            ]
        )
        right = _correct(network, images, classes) & _correct(network, inside, classes)
        withstood += int(right.sum())
        after_batch()
    return Robustness(settings, withstood, len(digits), time.perf_counter() - started)


def _card_head(name: str, digits: Digits) -> dict[str, Any]:
    return {
        "model": name,
        "code": code_versions(),
        "data": {"source": digits.source, "count": len(digits), "sha256": digits.digest},
    }


@torch.no_grad()
def _correct(network: FrozenNetwork, images: Tensor, classes: Tensor) -> Tensor:
    logits = torch.cat([network(piece) for piece in images.split(_BATCH)])
    return logits.argmax(dim=1) == classes
