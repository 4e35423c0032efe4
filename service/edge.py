"""Where every request comes in and every answer goes out.

One ASGI middleware for what concerns all of them: id, API key, limits, metrics, trace, log, safe headers, and
errors that nobody expected. The busiest routes are called from here, past FastAPI's own layers, which would
take a third of a prediction's time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.call import REQUEST_ID, Call, current_request_id
from service.keys import Keyring
from service.problems import SEE_LOG, InternalError, Problem, QueueFull, ServiceStopping, answer_to
from service.tracing import Tracing
from service.turns import Turns

_LOGGER = logging.getLogger("service")
_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_OPEN = frozenset(("/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"))
_METRICS = "/metrics"
# What nginx logs where nobody waits for an answer any more.
_CLIENT_LEFT = 499
_RETRY_AFTER = {"Retry-After": "1"}
_STOPPING = ServiceStopping("The service is ending; send the request to another one.")

Endpoint = Callable[[Request], Awaitable[Response]]


class Edge:
    """The outermost layer.

    Args:
        app: FastAPI's layers and routes.
        endpoints: POST routes by path that are called from here.
        keyring: Who may ask.
        most_requests: Requests that may be in progress; health and metrics are always answered.
        metrics_need_key: Whether /metrics asks for a key too.
        access_log: Whether every request gets a log line, or only a failed one.
        tracing: Where traces go; None for nowhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, Endpoint],
        keyring: Keyring,
        most_requests: int,
        metrics_need_key: bool = False,
        access_log: bool = False,
        tracing: Tracing | None = None,
    ) -> None:
        self.app = app
        self._endpoints, self._keyring, self._most = dict(endpoints), keyring, most_requests
        self._metrics_need_key, self._access_log, self._tracing = metrics_need_key, access_log, tracing
        self._in_progress = 0
        self._turns = Turns()
        self._counters = _Counters()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and sends what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = scope["call"] = Call(scope)
        current_request_id.set(call.request_id.decode())
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, call.request_id), *_SAFE_HEADERS]
            await send(message)

        self._in_progress += 1
        try:
            await self._answer(scope, receive, send_marked, call)
        except ClientDisconnect:
            status = status or _CLIENT_LEFT
        except asyncio.CancelledError:  # the server ends and waits no longer
            if not status:
                await answer_to(_STOPPING, scope["path"])(scope, receive, send_marked)
        except Exception:
            _LOGGER.exception("unexpected error in %s", scope["path"])
            if status:
                raise  # half an answer is out; the connection has to break
            await answer_to(InternalError(SEE_LOG), scope["path"])(scope, receive, send_marked)
        finally:
            self._in_progress -= 1
            self._book(scope, call, status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        path = scope["path"]
        try:
            self._admit(path, call)
            endpoint = self._endpoints.get(path) if scope["method"] == "POST" else None
            if endpoint is not None:
                call.route = path
                await self._turns.wait()
                response = await endpoint(Request(scope, receive))
        except Problem as problem:
            response = answer_to(problem, path)
        else:
            if endpoint is None:
                await self.app(scope, receive, send)
                return
        await response(scope, receive, send)

    def _admit(self, path: str, call: Call) -> None:
        if path.startswith("/v2/health/") or path in _OPEN:
            return
        if path == _METRICS:
            if self._metrics_need_key:
                self._keyring.admit(call.key)
            return
        self._keyring.admit(call.key)
        if self._in_progress > self._most:
            raise QueueFull(f"{self._in_progress} requests are in progress already.", headers=_RETRY_AFTER)

    def _book(self, scope: Scope, call: Call, status: int) -> None:
        route = call.route
        if route == "other" and (matched := scope.get("route")) is not None:
            route = matched.path
        seconds = time.perf_counter() - call.started
        self._counters.book(route, status, seconds, call.stages)
        metrics.IN_PROGRESS.set(self._in_progress)
        if self._tracing is not None:
            self._tracing.record(scope["method"], route, call, seconds, status)
        if self._access_log or status >= 500:
            fields = {
                "method": scope["method"],
                "path": scope["path"],
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
            self._of_route[key] = counter.inc, metrics.REQUEST_SECONDS.labels(route).observe
        count, observe = self._of_route[key]
        count(1)
        observe(seconds)
        for stage, spent in stages.items():
            of_stage = self._of_stage.get((route, stage))
            if of_stage is None:
                of_stage = self._of_stage[route, stage] = metrics.STAGE_SECONDS.labels(route, stage).observe
            of_stage(spent)
