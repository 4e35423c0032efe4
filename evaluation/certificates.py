"""The card of `whitebox certify`: for how many digits no attack within epsilon can succeed, proved."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import Progress
from torch import Tensor

from model.attacks import registry
from model.attacks.ball import Ball
from model.attacks.budget import ADVERSARIAL_MARGIN, Budget, margins
from model.attacks.settings import AttackName, AttackSettings
from model.frozen import FrozenNetwork
from model.package import write_atomically
from model.verification import CERTAIN_MARGIN, Certifier
from model.verification.stages import decide
from training.data import Dataset
from training.versions import code_versions

_BATCH = 50
_SEARCH: tuple[tuple[AttackName, int], ...] = (("apgd", 100), ("pgd", 40))

Bound = Literal["interval", "exact"]


@dataclass(frozen=True)
class DigitVerdict:
    """What is known about one digit of a set.

    Attributes:
        digit: Its index in the set.
        epsilon: Radius of the ball.
        verdict: "certified", "falsified" or "unknown".
        stage: What decided: "interval", "linear" or "exact" bounds, an "attack", or "clean" when the
            digit is misclassified as it is.
        margin_lower_bound: Of the last bound that was taken.
    """

    digit: int
    epsilon: float
    verdict: Literal["certified", "falsified", "unknown"]
    stage: str
    margin_lower_bound: float


def verdicts(
    network: FrozenNetwork, digits: Dataset, epsilon: float, exact_seconds: float | None = None
) -> Iterator[DigitVerdict]:
    """Decides digit by digit: intervals for all; with `exact_seconds` attacks, planes and HiGHS for the rest.

    Args:
        network: The network.
        digits: On which digits.
        epsilon: Radius of the L-inf ball.
        exact_seconds: How long HiGHS may take for one digit; None leaves open what intervals leave open.
    """
    certifier = Certifier.of(network)
    batches = zip(digits.images.split(_BATCH), digits.classes.split(_BATCH), strict=True)
    for number, (images, classes) in enumerate(batches):
        bounds = certifier.margin_lower_bound(images, classes, epsilon).tolist()
        for index, (image, true, bound) in enumerate(zip(images, classes.tolist(), bounds, strict=True)):
            decided = (
                ("certified", "interval", bound)
                if bound > CERTAIN_MARGIN
                else _decide_open(network, certifier, image[None], true, epsilon, bound, exact_seconds)
            )
            yield DigitVerdict(number * _BATCH + index, epsilon, *decided)


_Decided = tuple[Literal["certified", "falsified", "unknown"], str, float]


def _decide_open(
    network: FrozenNetwork,
    certifier: Certifier,
    image: Tensor,
    true: int,
    epsilon: float,
    bound: float,
    seconds: float | None,
) -> _Decided:
    if _misclassified(network, image, true):
        return "falsified", "clean", bound
    if seconds is None:
        return "unknown", "interval", bound
    ball = Ball(image, epsilon, "linf")
    target = registry.Target(network, image, torch.tensor([true]))
    for attack, steps in _SEARCH:
        found = registry.run(target, AttackSettings(attack, "linf", epsilon, steps))
        if _misclassified(network, ball.project(found), true):
            return "falsified", "attack", bound
    budget = Budget(deadline=time.monotonic() + seconds)
    decision = decide(certifier, image, true, epsilon, "milp", budget)
    if decision.certified:
        return "certified", decision.stage, decision.margin_lower_bound
    suspect = decision.suspect
    if suspect is not None and _misclassified(network, ball.project(suspect.to(image.dtype)), true):
        return "falsified", decision.stage, decision.margin_lower_bound
    return "unknown", decision.stage, decision.margin_lower_bound


@torch.no_grad()
def _misclassified(network: FrozenNetwork, image: Tensor, true: int) -> bool:
    return float(margins(network(image), true)[0]) <= -ADVERSARIAL_MARGIN


def certified_accuracy(
    network: FrozenNetwork,
    digits: Dataset,
    epsilons: list[float],
    exact_seconds: float | None = None,
    lines: Path | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Returns for each epsilon how many digits are certified, falsified and unknown.

    Args:
        network: The network.
        digits: On which digits.
        epsilons: Radii of the L-inf balls.
        exact_seconds: See `verdicts`.
        lines: Where to write every verdict, a JSON line each.
        quiet: Whether to show no progress.
    """
    entries, written = [], []
    with Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("certifying", total=len(digits) * len(epsilons))
        for epsilon in epsilons:
            started, counts = time.perf_counter(), Counter[str]()
            for verdict in verdicts(network, digits, epsilon, exact_seconds):
                counts[verdict.verdict] += 1
                written.append(json.dumps(asdict(verdict)))
                progress.advance(task)
            milliseconds = round(1000 * (time.perf_counter() - started) / len(digits), 3)
            entries.append(_entry(epsilon, exact_seconds, counts, milliseconds))
    if lines is not None:
        write_atomically(lines, "".join(f"{line}\n" for line in written).encode())
    return entries


def _entry(
    epsilon: float, exact_seconds: float | None, counts: Counter[str], milliseconds: float
) -> dict[str, Any]:
    bound: Bound = "interval" if exact_seconds is None else "exact"
    limit = {} if exact_seconds is None else {"seconds_a_digit": exact_seconds}
    return {
        "epsilon": epsilon,
        "bound": bound,
        **limit,
        "certified_accuracy": round(counts["certified"] / counts.total(), 6),
        "certified": counts["certified"],
        "falsified": counts["falsified"],
        "unknown": counts["unknown"],
        "milliseconds_an_image": milliseconds,
    }


def make_certified_card(name: str, digits: Dataset, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the card of certified accuracy alone."""
    return {
        "model": name,
        "code": code_versions(),
        "data": {"source": digits.source, "count": len(digits), "sha256": digits.digest},
        "certified": entries,
    }


def add_to_card(card: Path, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds entries to an evaluation's card, in place of those of the same epsilon and bound."""
    content: dict[str, Any] = json.loads(card.read_text())
    new = {(entry["epsilon"], entry["bound"]) for entry in entries}
    kept = [e for e in content.get("certified", []) if (e["epsilon"], e["bound"]) not in new]
    content["certified"] = sorted([*kept, *entries], key=lambda e: (e["bound"] != "interval", e["epsilon"]))
    write_atomically(card, (json.dumps(content, indent=2) + "\n").encode())
    return content
