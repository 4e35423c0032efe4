"""Reliability: small exact numbers."""

from evaluation.harness.reliability import reliability


def test_precision_and_recall_of_five_answers():
    curve = reliability([0.9, 0.6, 0.8, 0.7, 0.5], [1, 1, 1, 0, 1])
    assert [(p["recall"], p["precision"]) for p in curve["points"]] == [
        (0.2, 1.0), (0.4, 1.0), (0.4, 0.666667), (0.6, 0.75), (0.8, 0.8),
    ]  # fmt: skip
    assert curve["precision_at_80_recall"] == 0.8


def test_answers_of_one_confidence_are_kept_together():
    curve = reliability([0.9, 0.9, 0.9], [1, 0, 1])
    assert curve["points"] == [{"recall": 0.666667, "precision": 0.666667, "confidence": 0.9}]


def test_no_precision_at_a_recall_that_is_never_reached():
    assert reliability([0.9, 0.8], [1, 0])["precision_at_80_recall"] is None
