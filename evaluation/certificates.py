"""The card of `whitebox certify`: for how many images no attack within epsilon can succeed, proved."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.progress import Progress

from model.frozen import FrozenNetwork
from model.package import write_atomically
from model.verification.result import VerificationResult
from model.verification.verify import SearchPolicy, Verifier
from training.data import Dataset
from training.versions import code_versions

# Images that are verified together at all radii; one at a time where each may take seconds.
_BATCH = 50

Bound = Literal["interval", "exact"]


def certified_accuracy(
    network: FrozenNetwork,
    digits: Dataset,
    epsilons: Sequence[float],
    exact_seconds: float | None = None,
    lines: Path | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Returns for each epsilon how many images are certified, falsified and unknown.

    Args:
        network: The network.
        digits: The images.
        epsilons: Radii of the L-inf balls.
        exact_seconds: Time limit an image for the bounds beyond intervals, the last of them exact; None
            for interval bounds alone, without a search for counterexamples.
        lines: Where to write every verdict, a JSON line each.
        quiet: Whether to show no progress.
    """
    verifier, radii = Verifier(network), list(dict.fromkeys(epsilons))
    policy = SearchPolicy(attack=False)
    if exact_seconds is not None:
        policy = SearchPolicy("milp", seconds=exact_seconds)
    size = _BATCH if exact_seconds is None else 1
    results: dict[float, list[VerificationResult]] = {epsilon: [] for epsilon in radii}
    with Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("certifying", total=len(digits))
        for images, classes in zip(digits.images.split(size), digits.classes.split(size), strict=True):
            for epsilon, found in verifier.verify_at_each(images, classes, radii, policy).items():
                results[epsilon] += found
            progress.advance(task, len(images))
    if lines is not None:
        write_atomically(lines, "".join(_lines(results)).encode())
    return [_entry(epsilon, exact_seconds, found) for epsilon, found in results.items()]


def _lines(results: dict[float, list[VerificationResult]]) -> list[str]:
    """Returns every verdict as a line of JSON."""
    return [
        json.dumps(
            {
                "digit": index,
                "epsilon": result.epsilon,
                "verdict": result.verdict,
                "stage": result.method,
                "margin_lower_bound": result.margin_lower_bound,
            }
        )
        + "\n"
        for found in results.values()
        for index, result in enumerate(found)
    ]


def _entry(epsilon: float, exact_seconds: float | None, results: list[VerificationResult]) -> dict[str, Any]:
    bound: Bound = "interval" if exact_seconds is None else "exact"
    limit = {} if exact_seconds is None else {"seconds_a_digit": exact_seconds}
    counts = Counter(result.verdict for result in results)
    return {
        "epsilon": epsilon,
        "bound": bound,
        **limit,
        "certified_accuracy": round(counts["certified"] / len(results), 6),
        "certified": counts["certified"],
        "falsified": counts["falsified"],
        "unknown": counts["unknown"],
        "milliseconds_an_image": round(1000 * sum(one.seconds for one in results) / len(results), 3),
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
