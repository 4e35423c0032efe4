"""An adaptive limit of concurrency: while predictions are late, fewer of them may be in progress.

A fixed limit counts requests where time matters: 128 in progress take 26 ms each at 5,000 answers a second,
and 115 ms at 1,100 (Little's law), later than a client waits. This one falls to what can be answered in time
and rises again steadily (docs/decisions/0023).
"""

import math
import time

from service.http.protection.admission import QUEUE_FULL
from service.telemetry import metrics

# Latency is judged by its mean over this long: one late answer is no overload.
_WINDOW_SECONDS = 0.1
# Nor is a system that stood still for a moment: one window lowers the limit to this share at most.
_MOST_DECREASE = 0.3
# A lowered limit doubles in this time, whether anything is asked meanwhile or not.
_DOUBLING_SECONDS = 1.0
# So many are always admitted: with 16, honest clients were refused beside attacks that fill all cores.
_LEAST = 32


class ConcurrencyLimit:
    """Limits the small predictions in progress.

    Large ones take their time on an idle service too; they hold no place that a small one could have.

    Args:
        most: The limit while they are not late.
        target: Seconds that they may take on average; 0 leaves the limit at `most`.
    """

    def __init__(self, most: int, target: float) -> None:
        self._most, self._least, self._target = most, min(most, _LEAST), target
        self._in_progress = 0
        self._lowered_to, self._lowered_at, self._recovered_at = float(most), 0.0, 0.0
        self._seconds, self._answers, self._window_ends = 0.0, 0, 0.0
        metrics.budget("predictions", lambda: self._limit(time.perf_counter()), lambda: self._in_progress)

    @property
    def is_full(self) -> bool:
        """Whether as many predictions are in progress as may be."""
        return self._in_progress >= self._limit(time.perf_counter())

    def begin(self) -> float:
        """Counts a prediction whose body is there; returns what `end` wants, which must follow.

        Raises:
            QueueFull: Too many predictions are in progress.
        """
        if self.is_full:
            raise QUEUE_FULL
        self._in_progress += 1
        return time.perf_counter()

    def end(self, began: float) -> None:
        """Counts it no longer, and judges by the time that it took."""
        self._in_progress -= 1
        if self._target and began >= self._lowered_at:  # else it had too many beside it
            self._observe(began, time.perf_counter())

    def _limit(self, now: float) -> float:
        if now >= self._recovered_at:
            return self._most
        return self._lowered_to * math.exp2((now - self._lowered_at) / _DOUBLING_SECONDS)

    def _observe(self, began: float, now: float) -> None:
        self._seconds += now - began
        self._answers += 1
        if now < self._window_ends:
            return
        mean = self._seconds / self._answers
        if mean > self._target:  # by Little's law as many can be answered within it as the ratio says
            fewer = self._limit(now) * max(_MOST_DECREASE, self._target / mean)
            self._lower(max(self._least, fewer), now)
        self._seconds, self._answers, self._window_ends = 0.0, 0, now + _WINDOW_SECONDS

    def _lower(self, limit: float, now: float) -> None:
        self._lowered_to, self._lowered_at = limit, now
        self._recovered_at = now + _DOUBLING_SECONDS * math.log2(self._most / limit)
