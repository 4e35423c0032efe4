"""Whole requests of the busy routes, refused or answered where their bytes arrive.

By way of uvicorn's request cycle, a task, the ASGI layers and a request object, a prediction costs twice
what it costs here, and a refusal several times: at twice the capacity half of the processor would go into
saying no (docs/decisions/0010, 0012). Whatever is not plainly a whole request goes uvicorn's way.
"""

import time
from asyncio import TimerHandle, Transport
from typing import NamedTuple

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.http.body import SMALL_BODY
from service.http.context import REQUEST_ID, request_id_of
from service.http.direct import DirectPredictions, Exchange, Headers
from service.http.middleware import SAFE_HEADERS
from service.http.problems import QueueFull
from service.telemetry import metrics

# How long a request may take to be whole; then it goes uvicorn's way, where slow clients are told.
_HOLD_SECONDS = 0.05
_REFUSED = QueueFull("More requests are in progress already than this service takes on at once.")
_REFUSED_BODY = orjson.dumps(_REFUSED.body())
_REFUSED_HEADERS = [(b"content-type", b"application/problem+json"), (b"retry-after", b"1")]
_SAFE_LINES = b"".join(b"%b: %b\r\n" % header for header in SAFE_HEADERS)
_START_OF = {path: b"POST " + path.encode() + b" HTTP/1.1\r\n" for path in ("/v1/predict", "/v1/explain")}
_COUNT_REFUSED = {path: metrics.REQUESTS.labels(path, "429").inc for path in _START_OF}
_COUNT_REJECTION = metrics.REJECTIONS.labels(QueueFull.slug).inc


class ServingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which first looks whether a request can be refused or answered at once.

    The application leaves its `DirectPredictions` as "direct" in the state of its lifespan.
    """

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Takes on a connection."""
        super().connection_made(transport)
        self._direct: DirectPredictions | None = self.app_state.get("direct")
        self._exchange: Exchange | None = None
        self._held = self._next = b""
        self._hold_timer: TimerHandle | None = None
        self._started = self._last_used = 0.0
        self._amid_message = self._ending = False

    def on_message_begin(self) -> None:
        """Of httptools: uvicorn's way has begun to read a request."""
        self._amid_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Of httptools: it has read the request to its end."""
        self._amid_message = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Takes what a client sent."""
        if self._exchange is not None or self._next:  # one at a time; the rest waits
            self._next += data
            self.flow.pause_reading()
            return
        if self._hold_timer is None:
            self._started = time.perf_counter()
        data = self._held + data
        self._held = b""
        if not (self._direct is not None and self._between_requests() and self._take(data, self._direct)):
            super().data_received(data)
        if not self._held:
            self._stop_holding()

    def _between_requests(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self._amid_message and not self.flow.write_paused

    def _take(self, data: bytes, direct: DirectPredictions) -> bool:
        """Answers a whole request of a busy route, or holds one that is not whole yet; else returns False."""
        path = _path_of(data)
        end = data.find(b"\r\n\r\n") + 4
        if path is None or end < 4 or (head := _read_head(data[:end])) is None:
            return False
        missing = end + head.length - len(data)
        full = len(self.tasks) + direct.in_progress >= direct.most_requests
        if missing == 0 and full:
            self._refuse(path, head.headers)
            return True
        if missing < 0 or full or path != direct.path or not head.is_json or head.length > SMALL_BODY:
            return False
        if missing:
            self._hold(data)
            return True
        exchange = direct.begin(head.headers, data[end:], self._answer, self._started)
        if exchange is not None and not exchange.answered:
            self._exchange = exchange
        return exchange is not None

    def _refuse(self, path: str, headers: Headers) -> None:
        given = next((value for name, value in headers if name == REQUEST_ID), None)
        self._write(429, [*_REFUSED_HEADERS, (REQUEST_ID, request_id_of(given))], _REFUSED_BODY)
        _COUNT_REFUSED[path]()
        _COUNT_REJECTION()
        self._used()

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends an exchange's answer, then looks at what came meanwhile."""
        self._exchange = None
        if self._ending:
            self._write(status, [*headers, (b"connection", b"close")], body)
            self.transport.close()
            return
        self._write(status, headers, body)
        self.server_state.total_requests += 1
        self._used()
        if self._next:
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        data, self._next = self._next, b""
        if data and not self.transport.is_closing():
            self.flow.resume_reading()
            self.data_received(data)

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (_SAFE_LINES, b"content-length: %d\r\n\r\n" % len(body), body)
        if not self.transport.is_closing():
            self.transport.write(b"".join(lines))

    def _hold(self, data: bytes) -> None:
        self._held = data
        if self._hold_timer is None:
            self._hold_timer = self.loop.call_later(_HOLD_SECONDS, self._let_go)

    def _let_go(self) -> None:
        """Passes on what has come of a request that is slow to come."""
        self._stop_holding()
        data, self._held = self._held, b""
        super().data_received(data)

    def _stop_holding(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None

    def _used(self) -> None:
        """Notes that the connection is in use, as it is after any other answer."""
        self._last_used = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_when_idle_for(self.timeout_keep_alive)

    def _close_when_idle_for(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Closes the connection if it has been idle for as long as that."""
        idle = self.loop.time() - self._last_used
        if self._exchange is not None or self._held:
            idle = 0.0
        if idle < self.timeout_keep_alive:
            self._close_when_idle_for(self.timeout_keep_alive - idle)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets an exchange know that nobody waits for it."""
        self._next = b""
        if self._held:
            self._let_go()  # where it counts as a request whose client left
        if self._exchange is not None:
            self._exchange.leave()
            self._exchange = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Ends the connection after the answer that is due."""
        if self._held:
            self._let_go()
        if self._exchange is not None:
            self._ending = True
        else:
            super().shutdown()


def _path_of(data: bytes) -> str | None:
    for path, start in _START_OF.items():
        if data.startswith(start):
            return path
    return None


class _Head(NamedTuple):
    """Headers, names in lower case, and the body behind them."""

    headers: Headers
    length: int
    is_json: bool


class _HeadReader:
    """What httptools reads from a head."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.complete = False

    def on_headers_complete(self) -> None:
        self.complete = True

    def on_body(self, _body: bytes) -> None:
        self.complete = False  # the head has ended before its end

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def _read_head(data: bytes) -> _Head | None:
    """Reads the head of a request with a body of known length, on a connection that is kept; else None."""
    reader = _HeadReader()
    parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    if not reader.complete or not parser.should_keep_alive() or parser.should_upgrade():
        return None
    lengths = []
    is_json = False
    for name, value in reader.headers:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"content-type":
            is_json = value.partition(b";")[0].strip().lower() == b"application/json"
        elif name in (b"transfer-encoding", b"expect", b"upgrade"):
            return None
    if len(lengths) != 1 or not lengths[0].isdigit():
        return None
    return _Head(reader.headers, int(lengths[0]), is_json)
