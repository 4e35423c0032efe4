"""What is known of a request from its head: id, deadline, credentials; and the clock of its stages."""

import itertools
import os
import re
import time
from collections.abc import Iterable
from contextvars import ContextVar

from starlette.requests import Request

from service.http.problems import invalid_at

REQUEST_ID = b"x-request-id"
TIMEOUT = b"x-request-timeout-ms"
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_LONGEST_TIMEOUT_MS = 3_600_000
# Ids made here: random for each process, then counted, which costs no system call.
_OWN_IDS = itertools.count()
_OWN_PREFIX = os.urandom(8).hex().encode()

current_request_id: ContextVar[str] = ContextVar("request_id", default="-")


class Call:
    """One request, as far as its head tells.

    Attributes:
        request_id: The client's `X-Request-ID`, or one made here.
        started: When its head came, `time.perf_counter()`.
        key: The API key it brought, None without one.
        traceparent: The W3C trace context it brought, None without one.
        route: The path template that answers, "other" until it is known.
        stages: Seconds spent in each stage that was marked.
    """

    __slots__ = ("_marked", "_timeout", "key", "request_id", "route", "stages", "started", "traceparent")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], started: float | None = None) -> None:
        """Reads headers, names in lower case."""
        self.started = self._marked = time.perf_counter() if started is None else started
        self.request_id: bytes = b""
        self.key: bytes | None = None
        self.traceparent: bytes | None = None
        self.route = "other"
        self.stages: dict[str, float] = {}
        self._timeout: bytes | None = None
        for name, value in headers:
            if name == REQUEST_ID:
                self.request_id = request_id_of(value)
            elif name == TIMEOUT:
                self._timeout = value
            elif name == b"x-api-key":
                self.key = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                self.key = value[7:].strip()
            elif name == b"traceparent":
                self.traceparent = value
        self.request_id = self.request_id or request_id_of(None)

    def seconds(self, default: float, most: float = float("inf")) -> float:
        """Returns the time the client gives the service, or `default`; at most `most`.

        Raises:
            InvalidInput: The header is not a number of milliseconds, 1 to an hour.
        """
        if self._timeout is None:
            return min(default, most)
        if not self._timeout.isdigit() or not 1 <= (given := int(self._timeout)) <= _LONGEST_TIMEOUT_MS:
            raise invalid_at(
                ["X-Request-Timeout-Ms"], f"not a whole number of milliseconds, 1 to {_LONGEST_TIMEOUT_MS}"
            )
        return min(given / 1000, most)

    def mark(self, stage: str) -> None:
        """Books the time since the last mark to a stage."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._marked
        self._marked = now


def request_id_of(given: bytes | None) -> bytes:
    """Returns the id that a client gave, or one that no other request has."""
    if given is not None and _ACCEPTABLE_ID.fullmatch(given):
        return given
    return b"%b%016x" % (_OWN_PREFIX, next(_OWN_IDS))


def call_of(request: Request) -> Call:
    """Returns what is known of a request."""
    call: Call = request.scope["call"]
    return call
