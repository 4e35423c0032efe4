"""What the service counts about itself, for Prometheus.

With several serving processes (`PROMETHEUS_MULTIPROC_DIR` is set then, before this module is imported)
each writes its numbers to a shared directory, and any of them answers with the sum.
"""

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as _generate
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_LATENCIES = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_FLUSH_SECONDS = 0.25
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

REQUESTS = Counter("whitebox_requests", "Requests answered.", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "whitebox_request_seconds", "From the request's head to the end of its answer.", ["route"],
    buckets=_LATENCIES,
)  # fmt: skip
STAGE_SECONDS = Histogram(
    "whitebox_stage_seconds", "Parts of a request: read, parse, infer (waiting included), answer.",
    ["route", "stage"], buckets=_LATENCIES,
)  # fmt: skip
IN_PROGRESS = Gauge(
    "whitebox_requests_in_progress", "Requests not yet answered.", multiprocess_mode="livesum"
)
QUEUE_DEPTH = Gauge(
    "whitebox_queue_depth", "Waiting: images for inference; requests for attacks and certificates.",
    ["queue"], multiprocess_mode="livesum",
)  # fmt: skip
QUEUE_SECONDS = Histogram(
    "whitebox_queue_seconds", "Time spent waiting in a queue.", ["queue"], buckets=_LATENCIES
)
BATCH_IMAGES = Histogram("whitebox_batch_images", "Images that were inferred together.", buckets=_SIZES)
REJECTIONS = Counter("whitebox_rejections", "Requests refused, by problem.", ["reason"])
ATTACK_QUERIES = Counter(
    "whitebox_attack_queries", "Rows that attacks put through the model.", ["model", "attack"]
)
WORKERS = Gauge("whitebox_workers", "Worker processes that are ready.", ["pool"], multiprocess_mode="livesum")
WORKER_START_FAILURES = Counter(
    "whitebox_worker_start_failures", "Worker processes that could not be started.", ["pool"]
)
WORKERS_REPLACED = Counter("whitebox_workers_replaced", "Worker processes that died or hung.", ["pool"])
MODEL_INFO = Gauge(
    "whitebox_model_info", "1 for every loaded model.", ["model", "version", "digest"],
    multiprocess_mode="livemax",
)  # fmt: skip
BUDGET_LIMIT = Gauge(
    "whitebox_budget_limit", "What the settings allow of each budget of a process.", ["budget"],
    multiprocess_mode="livemax",
)  # fmt: skip
BUDGET_USED = Gauge(
    "whitebox_budget_used", "How much of it is used now.", ["budget"], multiprocess_mode="livemax"
)
MODEL_LOADS = Counter("whitebox_model_loads", "Loads of model packages, by outcome.", ["model", "outcome"])


class BufferedHistogram:
    """Observations of a histogram that are added together, four times a second.

    One by one, those of a prediction would cost a seventh of its time.

    Attributes:
        observe: Adds a value, from any thread.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._values: list[float] = []
        self._flushing = threading.Lock()
        self.observe: Callable[[float], None] = self._values.append

    def flush(self) -> None:
        """Adds the buffered values to the histogram; from any thread."""
        with self._flushing:
            values = self._values[:]
            del self._values[: len(values)]  # others may have been added meanwhile
        if values:
            bounds = self._histogram._upper_bounds
            buckets = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
            for bucket, count in zip(self._histogram._buckets, buckets.tolist(), strict=True):
                if count:
                    bucket.inc(count)
            self._histogram._sum.inc(sum(values))


_BUFFERED: dict[Histogram, BufferedHistogram] = {}


def buffered(histogram: Histogram) -> BufferedHistogram:
    """Returns the buffer of a histogram, of one child if it has labels."""
    return _BUFFERED.setdefault(histogram, BufferedHistogram(histogram))


_SAMPLED: dict[Gauge, Callable[[], float]] = {}


def sample(gauge: Gauge, value: Callable[[], float]) -> None:
    """Sets a gauge, one child if it has labels, whenever the buffers are flushed."""
    _SAMPLED[gauge] = value


def budget(name: str, limit: float | Callable[[], float], used: Callable[[], float]) -> None:
    """Tells how near a budget of the process is, whenever the buffers are flushed."""
    if callable(limit):
        sample(BUDGET_LIMIT.labels(name), limit)
    else:
        BUDGET_LIMIT.labels(name).set(limit)
    sample(BUDGET_USED.labels(name), used)


def flush_buffered() -> None:
    """Flushes every buffered histogram and samples the gauges."""
    for gauge, value in _SAMPLED.items():
        gauge.set(value())
    for each in list(_BUFFERED.values()):  # requests in other threads may add some
        each.flush()


async def flush_periodically() -> None:
    """Flushes for ever, so that processes that nobody asks for metrics share theirs too."""
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        flush_buffered()


class Exposition:
    """All numbers in Prometheus' text format, over all serving processes.

    Args:
        seconds: How long what was told once is told again: to write it takes as long as forty predictions.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._written, self._text = seconds, -math.inf, b""
        self._writing = asyncio.Lock()

    async def text(self) -> bytes:
        """Returns the numbers of now or of a moment ago."""
        async with self._writing:
            if time.monotonic() - self._written >= self._seconds:
                flush_buffered()
                self._text = await asyncio.to_thread(_write)
                self._written = time.monotonic()
            return self._text


def _write() -> bytes:
    if SHARED_DIRECTORY not in os.environ:
        return _generate(REGISTRY)
    _forget_the_dead(os.environ[SHARED_DIRECTORY])
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return _generate(registry)


def _forget_the_dead(directory: str) -> None:
    """Drops what killed processes said of the moment; what they counted stays."""
    for file in Path(directory).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except OSError:  # no process, or by now another user's
            file.unlink(missing_ok=True)
