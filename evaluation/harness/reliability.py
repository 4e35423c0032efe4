"""Precision against recall by confidence: how far the network knows when it is wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_POINTS = 100
_RECALL = 0.8


def reliability(confidence: Sequence[float], right: Sequence[int]) -> dict[str, Any]:
    """Returns the curve of keeping only the answers that are confident enough.

    Every attacked image keeps the answer at its attacked point. Precision is the share of right answers
    among those that are kept. Recall is the share of all images that are kept and right, so it ends at the
    accuracy under attack.

    Args:
        confidence: Of each image's answer.
        right: Whether that answer is right.
    """
    order = np.argsort(-np.asarray(confidence), kind="stable")
    sorted_confidence = np.asarray(confidence, dtype=float)[order]
    kept_right = np.cumsum(np.asarray(right)[order])
    # Answers of one confidence are kept or dropped together.
    ends = np.flatnonzero(np.append(np.diff(sorted_confidence) != 0, True))
    recall = kept_right[ends] / len(order)
    precision = kept_right[ends] / (ends + 1)
    reached = np.flatnonzero(recall >= _RECALL)
    shown = np.unique(np.linspace(0, len(ends) - 1, min(_POINTS, len(ends))).round().astype(int))
    return {
        "precision_at_80_recall": round(float(precision[reached[0]]), 6) if len(reached) else None,
        "points": [
            {
                "recall": round(float(recall[i]), 6),
                "precision": round(float(precision[i]), 6),
                "confidence": round(float(sorted_confidence[ends[i]]), 6),
            }
            for i in shown
        ],
    }
