"""What the soak counts as right, wrong and lost."""

import json

import numpy as np

from benchmarks.peers.soak import BATCH, Tally, compare_with
from benchmarks.peers.wire import Answer

EXPECTED = np.tile(np.array([1.0, -2.0], np.float32), (BATCH, 1))


def answer(status: int = 200, off_by: float = 0.0) -> Answer:
    predictions = [{"logits": {"3": 1.0, "5": -2.0}} for _ in range(BATCH)]
    predictions[0]["logits"]["5"] += off_by
    return Answer(status, b"", json.dumps({"predictions": predictions}).encode())


def counted(given: Answer | None) -> tuple[int, int, int]:
    tally = Tally()
    compare_with(EXPECTED, given, tally)
    return tally.right, tally.wrong, tally.lost


def test_equal_logits_are_right():
    assert counted(answer(off_by=5e-6)) == (BATCH, 0, 0)


def test_one_logit_that_differs_makes_one_wrong_prediction():
    assert counted(answer(off_by=2e-5)) == (BATCH - 1, 1, 0)


def test_logits_that_are_no_numbers_are_wrong():
    assert counted(answer(off_by=float("nan"))) == (BATCH - 1, 1, 0)


def test_a_refusal_and_a_broken_connection_are_lost():
    assert counted(answer(status=503)) == (0, 0, BATCH)
    assert counted(None) == (0, 0, BATCH)
