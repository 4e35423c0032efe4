"""What is known of a request from its head: id, deadline, credentials; and the clock of its stages."""

import itertools
import os
import re
import time
from collections.abc import Iterable

from starlette.requests import Request

from service.errors import invalid_at

REQUEST_ID = b"x-request-id"
TIMEOUT = b"x-request-timeout-ms"
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_MAX_TIMEOUT_MS = 3_600_000
_MAX_TIMEOUT_DIGITS = len(str(_MAX_TIMEOUT_MS))
# Ids made here: random for each process, then counted, which costs no system call.
_OWN_IDS = itertools.count()
_OWN_PREFIX = os.urandom(8).hex().encode()


class RequestContext:
    """One request, as far as its head tells.

    Attributes:
        request_id: The client's `X-Request-ID`, or one made here.
        started: When its head came, `time.perf_counter()`.
        api_key: The API key it brought, None without one.
        content_type: Of its body, empty without one.
        traceparent: The W3C trace context it brought, None without one.
        route: The path template that answers, "other" until it is known.
        stages: Seconds spent in each stage that was marked.
    """

    __slots__ = (
        "_marked",
        "_timeout",
        "api_key",
        "content_type",
        "request_id",
        "route",
        "stages",
        "started",
        "traceparent",
    )

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Reads headers, names in lower case."""
        self.started = self._marked = time.perf_counter()
        self.request_id: bytes = b""
        self.api_key: bytes | None = None
        self.content_type = b""
        self.traceparent: bytes | None = None
        self.route = "other"
        self.stages: dict[str, float] = {}
        self._timeout: bytes | None = None
        for name, value in headers:
            if name == REQUEST_ID and _ACCEPTABLE_ID.fullmatch(value):
                self.request_id = value
            elif name == b"content-type":
                self.content_type = value
            elif name == TIMEOUT:
                self._timeout = value
            elif name == b"x-api-key":
                self.api_key = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                self.api_key = value[7:].strip()
            elif name == b"traceparent":
                self.traceparent = value
        if not self.request_id:
            self.request_id = b"%b%016x" % (_OWN_PREFIX, next(_OWN_IDS))

    def timeout(self, limit: float) -> float:
        """Returns the seconds that the client gives the service, at most `limit`.

        Raises:
            InvalidInput: The header is not a number of milliseconds, 1 to an hour.
        """
        given = self._timeout
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


def get_context(request: Request) -> RequestContext:
    """Returns what is known of a request."""
    context: RequestContext = request.scope["context"]
    return context
