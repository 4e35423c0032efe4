"""Refusing requests so cheaply that a service offered twice what it can do still does what it can.

A refusal by way of a request object, a task and the ASGI layers costs a third of an answer: at twice the
capacity half of the processor would go into saying no. Whole requests of the busy routes are therefore
refused where their bytes arrive, with an answer that is ready (docs/decisions/0010).
"""

import itertools
import os
import re
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import metrics
from service.call import ACCEPTABLE_ID
from service.problems import QueueFull

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"\r\nx-request-id: *(" + ACCEPTABLE_ID + rb")\r\n", re.IGNORECASE)
# How exactly an idle connection's time is kept while it gets refusals.
_SHARE_OF_KEEP_ALIVE = 0.1
_PROBLEM = QueueFull("More requests are in progress already than this service takes on at once.")


def _answer(media_type: bytes, content: bytes) -> bytes:
    return (
        b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: " + media_type + b"\r\nretry-after: 1\r\n"
        b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        b"content-length: %d\r\nx-request-id: %%b\r\n\r\n" % len(content) + content
    )


class _Refusal(NamedTuple):
    """How a route refuses: how its requests start, the answer but for its id, and what books it."""

    start: bytes
    answer: bytes
    book: Callable[[], None]


_REFUSALS = tuple(
    _Refusal(
        b"POST " + path.encode() + b" ",
        _answer(b"application/problem+json", orjson.dumps(_PROBLEM.body())),
        metrics.REQUESTS.labels(path, "429").inc,
    )
    for path in ("/v1/predict", "/v1/explain")
)
_count_rejection = metrics.REJECTIONS.labels(QueueFull.slug).inc


class RefusingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which first looks whether there is room.

    Attributes:
        most_requests: Requests that may be in progress in this process.
    """

    most_requests: ClassVar[int] = 2**31
    _kept_alive = 0.0
    _own_ids: ClassVar["itertools.count[int]"] = itertools.count()
    _prefix: ClassVar[bytes] = os.urandom(8).hex().encode()

    def data_received(self, data: bytes) -> None:
        """Takes what a client sent."""
        if len(self.tasks) >= self.most_requests and self._between_requests() and self._refuse(data):
            return
        super().data_received(data)

    def _between_requests(self) -> bool:
        cycle = self.cycle
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _refuse(self, data: bytes) -> bool:
        """Answers a whole request of a busy route; tells whether it was one."""
        found = next((one for one in _REFUSALS if data.startswith(one.start)), None)
        if found is None:
            return False
        end = data.find(b"\r\n\r\n")
        head = data[: end + 2]
        length = _LENGTH.search(head)
        if end < 0 or length is None or end + 4 + int(length[1]) != len(data):
            return False
        given = _REQUEST_ID.search(head)
        request_id = given[1] if given else b"%b%016x" % (self._prefix, next(self._own_ids))
        self.transport.write(found.answer % request_id)
        found.book()
        _count_rejection()
        self._keep_alive()
        return True

    def _keep_alive(self) -> None:
        """The connection is in use, as it is after any other answer; said now and then, which is enough."""
        now = self.loop.time()
        if now - self._kept_alive < _SHARE_OF_KEEP_ALIVE * self.timeout_keep_alive:
            return
        self._kept_alive = now
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
