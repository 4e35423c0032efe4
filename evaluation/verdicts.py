"""The file of verdicts: a JSON line for every image and radius, written as they come.

An interrupted certification goes on where it stopped, and a later one with more time tries only what is still
unknown. Every line holds the key of its network and image: those of others are never used.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from model.package import write_atomically
from model.verification.result import VerificationResult


@dataclass(frozen=True)
class VerdictFile:
    """The verdicts of one network.

    Attributes:
        path: The file; it need not exist.
        network_digest: Of the network's tensors.
        seconds: Time limit an image beyond interval bounds; None for interval bounds alone.
    """

    path: Path
    network_digest: str
    seconds: float | None

    def read(self, images: Tensor, epsilons: Sequence[float]) -> dict[int, list[VerificationResult]]:
        """Returns, for the images (N, 1, H, W) with a usable verdict at every radius, their results in order.

        Usable is what is settled, and what stayed unknown with no less time than there is now. Interval
        bounds alone use only what they decided.
        """
        found: dict[tuple[int, float], VerificationResult] = {}
        keys = {index: self._key(images[index]) for index in range(len(images))}
        for line in self._lines():
            if keys.get(line["digit"]) == line.get("key") and self._usable(line):
                found[line["digit"], line["epsilon"]] = _result(line)
        return {
            index: [found[index, epsilon] for epsilon in epsilons]
            for index in range(len(images))
            if all((index, epsilon) in found for epsilon in epsilons)
        }

    def append(self, index: int, image: Tensor, results: Iterable[VerificationResult]) -> None:
        """Adds the results of one image (1, H, W)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.writelines(self._written(index, image, results))

    def write(self, images: Tensor, results: Iterable[Sequence[VerificationResult]]) -> None:
        """Writes the results of all images, in order, in place of whatever stands in the file."""
        rows = zip(range(len(images)), images, results, strict=True)
        lines = [line for row in rows for line in self._written(*row)]
        write_atomically(self.path, "".join(lines).encode())

    def _written(self, index: int, image: Tensor, results: Iterable[VerificationResult]) -> Iterator[str]:
        for result in results:
            line = {
                "digit": index,
                "epsilon": result.epsilon,
                "verdict": result.verdict,
                "stage": result.method,
                "margin_lower_bound": result.margin_lower_bound,
                "seconds": round(result.seconds, 4),
                "limit": self.seconds,
                "key": self._key(image),
            }
            yield json.dumps(line) + "\n"

    def _lines(self) -> Iterator[dict[str, Any]]:
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                yield json.loads(line)
            except ValueError:  # the last one, cut off by a kill
                continue

    def _usable(self, line: dict[str, Any]) -> bool:
        if self.seconds is None:
            return line["limit"] is None
        return line["verdict"] != "unknown" or (line["limit"] or 0) >= self.seconds

    def _key(self, image: Tensor) -> str:
        return hashlib.sha256(self.network_digest.encode() + image.numpy().tobytes()).hexdigest()[:12]


def _result(line: dict[str, Any]) -> VerificationResult:
    return VerificationResult(
        line["verdict"], line["epsilon"], line["stage"], line["margin_lower_bound"], seconds=line["seconds"]
    )
