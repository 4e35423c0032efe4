"""Checks for masked gradients (Athalye 2018, Carlini 2019): numbers that only look robust fail them.

A check that needs an attack that did not run is left out. Every tolerance is stated in the check's detail.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.harness.measurements import Measurement, Measurements, broken_by_any

# Random starts and finite steps: what two runs of one attack may differ by.
_NOISE = 0.005
_NOISE_OF_A_CURVE = 0.01
# What a stronger kind of attack may find beyond the plain gradient before that is a sign of masking.
_ONLY_BLACK_BOX = 0.01
_ONLY_SURROGATE = 0.02

_PLAIN_GRADIENT = ("fgsm", "pgd-40", "pgd-100x10", "apgd-ce", "apgd-t", "fab-t")
_BEYOND_GRADIENT = ("bpda", "movable")
_STRONGER_LAST = (("fgsm", "pgd-40"), ("pgd-40", "pgd-100x10"), ("pgd-40", "apgd-ce"))


@dataclass(frozen=True)
class Check:
    """One check, with what it saw."""

    name: str
    passed: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Returns the check as plain JSON values."""
        return asdict(self)


def run_checks(measurements: Measurements) -> list[Check]:
    """Returns every check that what was measured allows."""
    return [check for checker in _CHECKERS for check in checker(measurements)]


def _unbounded(measurements: Measurements) -> Iterator[Check]:
    """Within epsilon 1 every image is as good as any other, so an attack that works always succeeds."""
    attacks = measurements.attacks("unbounded")
    if attacks:
        indices = next(iter(attacks.values())).indices
        broken = broken_by_any(attacks.values(), len(measurements.correct))[indices]
        left = int((~broken).sum())
        yield Check(
            "unbounded epsilon reaches 0%",
            left == 0,
            f"{left} of {len(indices)} images withstand {' and '.join(attacks)} (none may)",
        )


def _monotone(measurements: Measurements) -> Iterator[Check]:
    for name, points in measurements.curves().items():
        shares = [point.share for point in points.values()]
        rise = float(np.diff(shares).max().round(9)) if len(shares) > 1 else 0.0  # 3 of 300 images are 1%
        yield Check(
            f"{name} accuracy never rises with epsilon",
            rise <= _NOISE_OF_A_CURVE,
            f"largest rise {max(rise, 0.0):.2%} (tolerance {_NOISE_OF_A_CURVE:.0%})",
        )


def _more_steps(measurements: Measurements) -> Iterator[Check]:
    rows = measurements.attacks("row")
    for weak, strong in _STRONGER_LAST:
        if weak in rows and strong in rows:
            difference = rows[strong].share - rows[weak].share
            yield Check(
                f"{strong} leaves no more than {weak}",
                difference <= _NOISE,
                f"{rows[strong].share:.2%} against {rows[weak].share:.2%} (tolerance {_NOISE:.1%})",
            )


def _black_box(measurements: Measurements) -> Iterator[Check]:
    rows = measurements.attacks("row")
    white = [rows[name] for name in (*_PLAIN_GRADIENT, *_BEYOND_GRADIENT) if name in rows]
    if "square" in rows and white:
        yield _only(
            "Square, a black box, breaks next to nothing that white-box attacks do not",
            "only Square breaks",
            (white, [rows["square"]]),
            _ONLY_BLACK_BOX,
            measurements,
        )


def _surrogate(measurements: Measurements) -> Iterator[Check]:
    rows = measurements.attacks("row")
    plain = [rows[name] for name in _PLAIN_GRADIENT if name in rows]
    smooth = [rows[name] for name in _BEYOND_GRADIENT if name in rows]
    if plain and smooth:
        yield _only(
            "BPDA and movable pixels break little that plain gradients do not",
            "only they break",
            (plain, smooth),
            _ONLY_SURROGATE,
            measurements,
        )


def _only(
    name: str,
    words: str,
    attacks: tuple[list[Measurement], list[Measurement]],
    tolerance: float,
    measurements: Measurements,
) -> Check:
    """Compares what the second attacks break with what the first ones do."""
    known, new = (broken_by_any(group, len(measurements.correct)) for group in attacks)
    extra = int((new & ~known).sum())
    share = extra / len(known)
    detail = f"{words} {extra} of {len(known)} images, {share:.2%} (tolerance {tolerance:.0%})"
    return Check(name, share <= tolerance, detail)


def _certificates(measurements: Measurements) -> Iterator[Check]:
    certificates = measurements.certificates()
    broken = {
        epsilon: broken_by_any(_within(measurements, epsilon), len(measurements.correct)) & one.withstood
        for epsilon, one in certificates.items()
    }
    if broken and measurements.attacks("row"):
        wrong = sum(int(flags.sum()) for flags in broken.values())
        yield Check(
            "no attack breaks a certificate",
            wrong == 0,
            f"{wrong} broken at {len(broken)} values of epsilon (none may)",
        )


def _within(measurements: Measurements, epsilon: float) -> list[Measurement]:
    attacks = [one for role in ("row", "curve", "unbounded") for one in measurements.attacks(role).values()]
    return [one for one in attacks if one.epsilon <= epsilon]


_CHECKERS: tuple[Callable[[Measurements], Iterator[Check]], ...] = (
    _unbounded,
    _monotone,
    _more_steps,
    _black_box,
    _surrogate,
    _certificates,
)
