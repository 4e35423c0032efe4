"""The card of `whitebox certify`: for how many images no attack within epsilon can succeed, proved."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import Progress

from evaluation.harness.shard_cache import digest_of_network
from evaluation.verdicts import VerdictFile
from model.frozen import FrozenNetwork
from model.package import write_atomically
from model.verification.result import VerificationResult
from model.verification.verify import SearchPolicy, Verifier
from training.data import DataError, Dataset
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
        lines: Where to write every verdict, a JSON line each; what the file settles is not done again.
        quiet: Whether to show no progress.
    """
    radii = list(dict.fromkeys(epsilons))
    policy = SearchPolicy(attack=False)
    if exact_seconds is not None:
        policy = SearchPolicy("milp", seconds=exact_seconds)
    file = None if lines is None else VerdictFile(lines, digest_of_network(network), exact_seconds)
    by_image = _results_by_image(Verifier(network), digits, radii, policy, file, quiet)
    if file is not None:
        file.write(digits.images, by_image)
    by_epsilon = zip(radii, zip(*by_image, strict=True), strict=True)
    return [_entry(epsilon, exact_seconds, found) for epsilon, found in by_epsilon]


def _results_by_image(
    verifier: Verifier,
    digits: Dataset,
    radii: list[float],
    policy: SearchPolicy,
    file: VerdictFile | None,
    quiet: bool,
) -> list[list[VerificationResult]]:
    """Returns the results of every image at all radii: those the file holds, the others verified."""
    size = _BATCH if policy.bound == "interval" else 1
    known = {} if file is None else file.read(digits.images, radii)
    left = torch.tensor([index for index in range(len(digits)) if index not in known], dtype=torch.long)
    with Progress(transient=True, disable=quiet) as progress:
        task = progress.add_task("certifying", total=len(digits), completed=len(known))
        for rows in left.split(size):
            found = verifier.verify_at_each(digits.images[rows], digits.classes[rows], radii, policy)
            for index, *results in zip(rows.tolist(), *(found[epsilon] for epsilon in radii), strict=True):
                known[index] = results
                if file is not None:
                    file.append(index, digits.images[index], results)
            progress.advance(task, len(rows))
    return [known[index] for index in range(len(digits))]


def _entry(
    epsilon: float, exact_seconds: float | None, results: Sequence[VerificationResult]
) -> dict[str, Any]:
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


def check_images(card: Path, content: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuses a card of other images than those of a data set.

    Raises:
        DataError: The card is of others.
    """
    known = content.get("data")
    if known is not None and known["sha256"] != dataset.digest:
        raise DataError(
            f"{card} is about {known['source']} ({known['count']:,} images), not about these, "
            f"{dataset.source} ({len(dataset):,}). Name another card with --out."
        )


def add_to_card(card: Path, digits: Dataset, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds entries to an evaluation's card, in place of those of the same epsilon and bound.

    Raises:
        DataError: The card is about other images.
    """
    content: dict[str, Any] = json.loads(card.read_text())
    check_images(card, content, digits)
    new = {(entry["epsilon"], entry["bound"]) for entry in entries}
    kept = [e for e in content.get("certified", []) if (e["epsilon"], e["bound"]) not in new]
    content["certified"] = sorted([*kept, *entries], key=lambda e: (e["bound"] != "interval", e["epsilon"]))
    write_atomically(card, (json.dumps(content, indent=2) + "\n").encode())
    return content
