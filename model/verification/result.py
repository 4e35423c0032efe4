"""The result of verifying one image, and how results at several radii agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

Verdict = Literal["certified", "falsified", "unknown"]
Method = Literal["interval", "linear", "milp", "attack", "clean"]


@dataclass(frozen=True)
class VerificationResult:
    """What was shown about one image and its L-inf ball.

    Attributes:
        verdict: "certified": every image in the ball is classified as the true class. "falsified":
            `counterexample` is not. "unknown": neither was shown.
        epsilon: Radius of the ball.
        method: What decided, or what was tried last: a bound, "attack", or "clean" where the image is
            misclassified as it is.
        margin_lower_bound: No image in the ball has a smaller margin.
        certified_radius: The largest radius that is certified, 0 if there is none, never below epsilon
            where the verdict is "certified". None if it was not looked for.
        counterexample: (1, 1, H, W), inside ball and box; another class leads by ADVERSARIAL_MARGIN.
        seconds: Time spent on this image.
    """

    verdict: Verdict
    epsilon: float
    method: Method
    margin_lower_bound: float
    certified_radius: float | None = None
    counterexample: Tensor | None = field(default=None, compare=False)
    seconds: float = field(default=0.0, compare=False)


def monotone(
    by_epsilon: Mapping[float, Sequence[VerificationResult]],
) -> dict[float, list[VerificationResult]]:
    """Carries proofs to smaller radii and counterexamples to larger ones.

    Args:
        by_epsilon: At each radius one result an image.

    Raises:
        RuntimeError: A counterexample lies in a ball that is certified.
    """
    rising = sorted(by_epsilon)
    columns = zip(*(by_epsilon[epsilon] for epsilon in rising), strict=True)
    settled = [_monotone(column) for column in columns]
    return {epsilon: [column[index] for column in settled] for index, epsilon in enumerate(rising)}


def _monotone(rising: Sequence[VerificationResult]) -> list[VerificationResult]:
    """The results of one image, by rising radius."""
    results = list(rising)
    for index in range(len(results) - 1, 0, -1):  # from larger to smaller radii
        smaller, larger = results[index - 1], results[index]
        bound = max(smaller.margin_lower_bound, larger.margin_lower_bound)
        if larger.verdict == "certified" and smaller.verdict != "certified":
            if smaller.verdict == "falsified":
                raise RuntimeError(
                    f"A counterexample at {smaller.epsilon:g} contradicts the proof at {larger.epsilon:g}."
                )
            smaller = replace(larger, epsilon=smaller.epsilon, seconds=smaller.seconds)
        results[index - 1] = replace(smaller, margin_lower_bound=bound)
    for index in range(1, len(results)):  # from smaller to larger radii
        smaller, larger = results[index - 1], results[index]
        if smaller.verdict == "falsified" and larger.verdict == "unknown":
            results[index] = replace(
                larger, verdict="falsified", method=smaller.method, counterexample=smaller.counterexample
            )
    known = [result.certified_radius for result in results if result.certified_radius is not None]
    radius = max(known, default=None)
    return [one if one.certified_radius is None else replace(one, certified_radius=radius) for one in results]
