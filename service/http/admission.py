"""Who is let in, and what is written down about every request, whichever way it is answered."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from service.http.auth import Keyring
from service.http.context import Call, current_request_id
from service.http.problems import QueueFull
from service.telemetry import metrics
from service.telemetry.tracing import Tracing

_LOGGER = logging.getLogger("service")
_OPEN = frozenset(("/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"))
_METRICS = "/metrics"
_RETRY_AFTER = {"Retry-After": "1"}


class Reception:
    """Lets requests in, counts those in progress, and books the answered ones.

    Args:
        keyring: Who may ask.
        most_requests: Requests that may be in progress; health and metrics are always answered.
        metrics_need_key: Whether /metrics asks for a key too.
        access_log: Whether every request gets a log line, or only a failed one.
        tracing: Where traces go; None for nowhere.
    """

    def __init__(
        self,
        keyring: Keyring,
        most_requests: int,
        metrics_need_key: bool = False,
        access_log: bool = False,
        tracing: Tracing | None = None,
    ) -> None:
        self.keyring, self.most_requests, self._tracing = keyring, most_requests, tracing
        self._metrics_need_key, self._access_log = metrics_need_key, access_log
        self._in_progress = 0
        self._counters = _Counters()

    def enter(self) -> None:
        """Counts a request that begins; `book` must follow."""
        self._in_progress += 1

    def admit(self, path: str, call: Call) -> None:
        """Lets a request in that has entered.

        Raises:
            Unauthorized: It brings no key, or a wrong one.
            RateLimited: Its key has been used too often.
            QueueFull: Too many requests are in progress.
        """
        if path.startswith("/v2/health/") or path in _OPEN:
            return
        if path == _METRICS:
            if self._metrics_need_key:
                self.keyring.admit(call.key)
            return
        self.keyring.admit(call.key)
        if self._in_progress > self.most_requests:
            raise QueueFull(f"{self._in_progress} requests are in progress already.", headers=_RETRY_AFTER)

    def book(self, method: str, path: str, call: Call, status: int) -> None:
        """Books a request that has been answered, in metrics, traces and log."""
        self._in_progress -= 1
        seconds = time.perf_counter() - call.started
        self._counters.book(call.route, status, seconds, call.stages)
        metrics.IN_PROGRESS.set(self._in_progress)
        if self._tracing is not None:
            self._tracing.record(method, call.route, call, seconds, status)
        if self._access_log or status >= 500:
            current_request_id.set(call.request_id.decode())
            fields = {
                "method": method,
                "path": path,
                "status": status,
                "milliseconds": round(1000 * seconds, 3),
            }
            _LOGGER.info("request", extra={"fields": fields})


class _Counters:
    """Prometheus' children by label, looked up once each."""

    def __init__(self) -> None:
        self._of_route: dict[tuple[str, int], Sequence[Callable[[float], None]]] = {}
        self._of_stage: dict[tuple[str, str], Callable[[float], None]] = {}

    def book(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Counts one request."""
        key = route, status
        if key not in self._of_route:
            counter = metrics.REQUESTS.labels(route, str(status))
            self._of_route[key] = counter.inc, metrics.tally(metrics.REQUEST_SECONDS.labels(route)).observe
        count, observe = self._of_route[key]
        count(1)
        observe(seconds)
        for stage, spent in stages.items():
            of_stage = self._of_stage.get((route, stage))
            if of_stage is None:
                of_stage = metrics.tally(metrics.STAGE_SECONDS.labels(route, stage)).observe
                self._of_stage[route, stage] = of_stage
            of_stage(spent)
