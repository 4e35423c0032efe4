"""Conformal p-values: how unusual a score is among scores of images that the network was made for.

Vovk et al. 2005: of exchangeable genuine images, at most a share alpha gets a p-value of alpha or less,
whatever the score is. Nothing is promised about one image, or about images that are not genuine.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.manifest import TypicalityCalibration

TypicalWithin = Literal["always", "never", "unknown"]


def p_values(
    scores: ArrayLike, calibration: Sequence[float] | NDArray[np.floating], shift: float = 1.0
) -> NDArray[np.float64]:
    """Returns (1 + calibration scores at least as large) / (1 + their number), for each score.

    With a `shift` they are so many times as large, 1 at most. The promise then also holds for images of which
    any kind is at most so many times more frequent than among the calibration's: the share alpha / shift of
    those becomes at most alpha.

    Args:
        scores: Any shape; a larger one is more unusual. What is no number is most unusual.
        calibration: Scores of held-out genuine images, from the smallest.
        shift: 1 or more.
    """
    ordered = np.asarray(calibration, np.float64)
    smaller = ordered.searchsorted(np.asarray(scores, np.float64))  # what is no number sorts as the largest
    found: NDArray[np.float64] = shift * (1 + len(ordered) - smaller) / (1 + len(ordered))
    return np.minimum(found, 1)


def typical_between(
    lowest: float, highest: float, known: TypicalityCalibration, level: float
) -> TypicalWithin:
    """Tells whether all images whose scores lie between two bounds have p-values above the level, or none."""
    (most_typical, least_typical) = p_values([lowest, highest], known.calibration, known.shift)
    if least_typical > level:
        return "always"
    return "never" if most_typical <= level else "unknown"
