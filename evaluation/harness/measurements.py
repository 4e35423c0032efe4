"""What the shards of one evaluation add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.harness.shard import ShardResult
from evaluation.harness.suite import Attack, SuiteEntry

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Measurement:
    """One attack or certificate on all its images.

    Attributes:
        entry: What was measured.
        indices: Index of each measured image in the data set.
        withstood: Whether it withstood, or is certified.
        seconds: Summed over the shards.
        skipped: For how many images a certificate stood in.
        details: Further numbers of some attacks, by name.
    """

    entry: SuiteEntry
    indices: NDArray[np.intp]
    withstood: Flags
    seconds: float
    skipped: int
    details: Mapping[str, NDArray[np.float64]]

    @classmethod
    def joined(cls, entry: SuiteEntry, indices: NDArray[np.intp], shards: list[ShardResult]) -> "Measurement":
        """Puts the shards of one measurement together, in order."""
        details = {
            name: np.concatenate([np.asarray(shard.details[name]) for shard in shards])
            for name in shards[0].details
        }
        withstood = np.concatenate([np.asarray(shard.withstood, dtype=bool) for shard in shards])
        seconds, skipped = sum(shard.seconds for shard in shards), sum(shard.skipped for shard in shards)
        return cls(entry, indices, withstood, seconds, skipped, details)

    @property
    def epsilon(self) -> float:
        """Radius of the ball."""
        entry = self.entry
        return entry.settings.epsilon if isinstance(entry, Attack) else entry.epsilon

    @property
    def share(self) -> float:
        """Which share of the images withstood, or is certified."""
        return float(self.withstood.mean())

    def broken_of(self, count: int) -> Flags:
        """Tells for each of all `count` images whether it was measured and did not withstand."""
        broken = np.zeros(count, dtype=bool)
        broken[self.indices] = ~self.withstood
        return broken


def broken_by_any(measured: Iterable[Measurement], count: int) -> Flags:
    """Tells for each of all `count` images whether any of the attacks broke it."""
    flags = [one.broken_of(count) for one in measured]
    return np.logical_or.reduce(flags) if flags else np.zeros(count, dtype=bool)


@dataclass(frozen=True)
class Measurements:
    """Everything that an evaluation measured.

    Attributes:
        epsilon: Radius of the ball of the rows.
        correct: Which images are classified correctly, unattacked.
        by_name: Every attack and certificate.
    """

    epsilon: float
    correct: Flags
    by_name: Mapping[str, Measurement]

    def attacks(self, role: str) -> dict[str, Measurement]:
        """Returns the attacks of a role, by name, in the order of the suite."""
        return {
            name: one
            for name, one in self.by_name.items()
            if isinstance(one.entry, Attack) and one.entry.role == role
        }

    def certificates(self) -> dict[float, Measurement]:
        """Returns the certificates by epsilon."""
        return {one.epsilon: one for one in self.by_name.values() if not isinstance(one.entry, Attack)}

    def worst_case(self) -> Flags:
        """Tells which images withstood everything that ran inside the ball, points of curves included."""
        inside = [
            one
            for one in self.by_name.values()
            if isinstance(one.entry, Attack) and one.epsilon <= self.epsilon
        ]
        return self.correct & ~broken_by_any(inside, len(self.correct))

    def curves(self) -> dict[str, dict[float, Measurement]]:
        """Returns the attacks measured at many epsilons: by name, then by epsilon in rising order."""
        curves: dict[str, dict[float, Measurement]] = {}
        for one in self.attacks("curve").values():
            assert isinstance(one.entry, Attack)
            curves.setdefault(one.entry.kind, {})[one.epsilon] = one
        return {name: dict(sorted(points.items())) for name, points in curves.items()}
