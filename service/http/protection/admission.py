"""Admission control and request accounting."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from service.errors import QueueFull
from service.http.context import RequestContext
from service.http.protection.auth import ApiKeys
from service.settings import Settings
from service.telemetry import metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

_LOGGER = logging.getLogger("service")
_PUBLIC = frozenset(("/", "/docs", "/redoc", "/openapi.json"))
_PUBLIC_BELOW = ("/v2/health/", "/page/")
_METRICS = "/metrics"
# Beyond the limit of requests: an operator sees what goes on when the service is full.
_RESERVED = 16
QUEUE_FULL = QueueFull(
    "More requests are in progress already than this service takes on at once.", headers={"Retry-After": "1"}
)


class AdmissionControl:
    """Admits requests, counts those in progress, and accounts for the answered ones.

    Args:
        api_keys: Authenticates requests.
        settings: How many requests may be in progress (a few more for metrics and documentation; health is
            always answered), whether /metrics asks for a key, and whether every request gets a log line.
        tracing: Where traces go; None for nowhere.
    """

    def __init__(
        self,
        api_keys: ApiKeys,
        settings: Settings,
        tracing: "Tracing | None" = None,
    ) -> None:
        self._api_keys, self._max_requests, self._tracing = api_keys, settings.max_requests, tracing
        self._metrics_need_key, self._access_log = settings.metrics_need_key, settings.access_log
        self._in_progress = 0
        self._counters = _RequestCounters()
        metrics.sample(metrics.IN_PROGRESS, lambda: self._in_progress)
        metrics.budget("requests", self._max_requests, lambda: self._in_progress)

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in progress as may be."""
        return self._in_progress >= self._max_requests

    def admit(self, path: str, context: RequestContext) -> None:
        """Admits a request whose head is there.

        Raises:
            Unauthorized: It brings no key, or a wrong one.
            RateLimited: Its key has been used too often.
            QueueFull: Too many requests are in progress.
        """
        if _is_public(path) or (path == _METRICS and not self._metrics_need_key):
            return
        if self.is_full and path != _METRICS:
            raise QUEUE_FULL
        context.role = self._api_keys.authenticate(context.api_key)

    def begin(self, path: str, context: RequestContext) -> None:
        """Counts a request whose body is there among those in progress; `finish` must follow.

        Raises:
            QueueFull: Too many requests are in progress.
        """
        if self.is_full and not path.startswith(_PUBLIC_BELOW):
            is_small = path == _METRICS or path in _PUBLIC
            if not is_small or self._in_progress >= self._max_requests + _RESERVED:
                raise QUEUE_FULL
        self._in_progress += 1
        context.in_progress = True

    def finish(self, method: str, path: str, context: RequestContext, status: int) -> None:
        """Accounts for a request that has been answered, in metrics, traces and log."""
        if context.in_progress:
            self._in_progress -= 1
        seconds = time.perf_counter() - context.started
        self._counters.count(context.route, status, seconds, context.stages)
        if self._tracing is not None:
            name = f"{method} {context.route}"
            self._tracing.record(name, status, seconds, context.stages, context.traceparent)
        if self._access_log or status >= 500:
            fields = {
                "method": method,
                "path": path,
                "status": status,
                "milliseconds": round(1000 * seconds, 3),
            }
            _LOGGER.info("request", extra={"fields": fields})


def _is_public(path: str) -> bool:
    return path.startswith(_PUBLIC_BELOW) or path in _PUBLIC


class _RequestCounters:
    """Prometheus' children by label, looked up once each."""

    def __init__(self) -> None:
        self._by_route: dict[tuple[str, int], Sequence[Callable[[float], None]]] = {}
        self._by_stage: dict[tuple[str, str], Callable[[float], None]] = {}

    def count(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Counts one request."""
        key = route, status
        if key not in self._by_route:
            counter = metrics.REQUESTS.labels(route, str(status))
            histogram = metrics.buffered(metrics.REQUEST_SECONDS.labels(route))
            self._by_route[key] = counter.inc, histogram.observe
        increment, observe = self._by_route[key]
        increment(1)
        observe(seconds)
        for stage, spent in stages.items():
            of_stage = self._by_stage.get((route, stage))
            if of_stage is None:
                of_stage = metrics.buffered(metrics.STAGE_SECONDS.labels(route, stage)).observe
                self._by_stage[route, stage] = of_stage
            of_stage(spent)
