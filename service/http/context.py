"""What is known of a request from its head: id, deadline, credentials; and the clock of its stages."""

import itertools
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from starlette.requests import Request

from service.errors import Problem, UnsupportedMediaType, invalid_at

Role = Literal["admin", "predict"]

REQUEST_ID = b"x-request-id"
TIMEOUT = b"x-request-timeout-ms"
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_MAX_TIMEOUT_MS = 3_600_000
_MAX_TIMEOUT_DIGITS = len(str(_MAX_TIMEOUT_MS))
# Headers that have one value; which of two holds, two readers of a request may see differently.
_SINGLE = (
    REQUEST_ID,
    TIMEOUT,
    b"authorization",
    b"content-encoding",
    b"content-type",
    b"host",
    b"inference-header-content-length",
    b"origin",
    b"traceparent",
    b"x-api-key",
)
# Ids made here: random for each process, then counted, which costs no system call.
_OWN_IDS = itertools.count()
_OWN_PREFIX = os.urandom(8).hex().encode()


class RequestContext:
    """One request, as far as its head tells.

    Attributes:
        headers: By name in lower case; of a repeated one the last.
        fault: Why the request is refused whatever it asks for, None if nothing speaks against it.
        request_id: The client's `X-Request-ID`, or one made here.
        started: When its head came, `time.perf_counter()`.
        api_key: The API key it brought, None without one.
        role: Of that key; None where none is needed.
        content_type: Of its body, empty without one.
        traceparent: The W3C trace context it brought, None without one.
        route: The path template that answers, "other" until it is known.
        stages: Seconds spent in each stage that was marked.
        in_progress: Whether it counts among the requests in progress.
        buffered_input: Bytes of its body that count, 0 for a small one.
        reserved_output: Bytes of its answer that count, 0 for a small one.
    """

    __slots__ = (
        "_marked",
        "api_key",
        "buffered_input",
        "content_type",
        "fault",
        "headers",
        "in_progress",
        "request_id",
        "reserved_output",
        "role",
        "route",
        "stages",
        "started",
        "traceparent",
    )

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Reads headers, names in lower case."""
        self.started = self._marked = time.perf_counter()
        found = self.headers = dict(headers)
        self.fault = _fault(found, headers)
        given = found.get(REQUEST_ID)
        if given is not None and _ACCEPTABLE_ID.fullmatch(given):
            self.request_id = given
        else:
            self.request_id = b"%b%016x" % (_OWN_PREFIX, next(_OWN_IDS))
        self.content_type = found.get(b"content-type", b"")
        self.traceparent = found.get(b"traceparent")
        self.api_key = found.get(b"x-api-key")
        if self.api_key is None and found.get(b"authorization", b"")[:7].lower() == b"bearer ":
            self.api_key = found[b"authorization"][7:].strip()
        self.role: Role | None = None
        self.in_progress = False
        self.buffered_input = self.reserved_output = 0
        self.route = "other"
        self.stages: dict[str, float] = {}

    def timeout(self, limit: float) -> float:
        """Returns the seconds that the client gives the service, at most `limit`.

        Raises:
            InvalidInput: The header is not a number of milliseconds, 1 to an hour.
        """
        given = self.headers.get(TIMEOUT)
        if given is None:
            return limit
        if not given.isdigit() or len(given) > _MAX_TIMEOUT_DIGITS or not 1 <= int(given) <= _MAX_TIMEOUT_MS:
            raise invalid_at(
                ["X-Request-Timeout-Ms"], f"not a whole number of milliseconds, 1 to {_MAX_TIMEOUT_MS}"
            )
        return min(int(given) / 1000, limit)

    def deadline(self, limit: float) -> float:
        """Returns when `timeout`, counted from the request's head, is over: a `time.monotonic()` value."""
        elapsed = time.perf_counter() - self.started
        return time.monotonic() - elapsed + self.timeout(limit)

    def mark(self, stage: str) -> None:
        """Adds the time since the last mark to a stage."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._marked
        self._marked = now


def _fault(found: Mapping[bytes, bytes], headers: Sequence[tuple[bytes, bytes]]) -> Problem | None:
    """Returns what speaks against a request whatever it asks for."""
    if len(found) != len(headers):
        names = [name for name, _ in headers]
        for name in _SINGLE:
            if names.count(name) > 1:
                return invalid_at([name.decode().title()], "the header is given more than once")
    if found.get(b"content-encoding", b"identity").lower() != b"identity":
        return UnsupportedMediaType("Send the body as it is, without Content-Encoding.")
    return None


def get_context(request: Request) -> RequestContext:
    """Returns what is known of a request."""
    context: RequestContext = request.scope["context"]
    return context
