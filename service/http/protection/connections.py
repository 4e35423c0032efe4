"""Limits of connections, below the requests on them: how many, how slow, how much unread.

uvicorn has none of these for the parser used here, so its protocol class is extended, by asyncio's methods
and the parser's callbacks alone; HTTP is still read by uvicorn (docs/decisions/0017).
"""

import asyncio
import socket
from collections import Counter, deque
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.budgets import Budgets
from service.errors import HeadTooLarge, HeadTooSlow, Problem, TooManyConnections
from service.http.problems import raw_response
from service.telemetry import metrics
from service.telemetry.logs import NO_REQUEST, current_request_id

# A read brings up to 256 KiB, ten thousand small requests: what is too much is noticed after so many bytes.
_SLICE = 16 * 2**10
_SWEEP_SECONDS = 1.0
# What the system holds of an answer counts as read; left alone it would hold 4 MB for each connection.
_SEND_BUFFER = 128 * 2**10


class _TooManyAheadError(Exception):
    """A client sends more requests ahead than are allowed."""


class Connections:
    """The open connections of a process.

    Args:
        budgets: Their number, in all and of an address, and what each may cost.
    """

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self._open: set[Connection] = set()
        self._of_address: Counter[str] = Counter()
        metrics.budget("connections", budgets.max_connections, lambda: len(self._open))
        metrics.budget(
            "connections of one address",
            budgets.max_connections_per_address,
            lambda: max(self._of_address.values(), default=0),
        )

    def add(self, connection: "Connection") -> None:
        """Counts a new connection; `remove` must follow.

        Raises:
            TooManyConnections: There are enough, in all or of its address.
        """
        self._open.add(connection)
        self._of_address[connection.address] += 1
        if self._of_address[connection.address] > self.budgets.max_connections_per_address:
            raise TooManyConnections("Too many connections of this address are open.")
        if len(self._open) > self.budgets.max_connections:
            raise TooManyConnections("Too many connections are open.")

    def remove(self, connection: "Connection") -> None:
        """Counts a connection that is closed."""
        self._open.discard(connection)
        self._of_address[connection.address] -= 1
        if not self._of_address[connection.address]:
            del self._of_address[connection.address]

    def unread(self) -> int:
        """Returns how many bytes of answers are written and not read by clients."""
        return sum(each.unread() for each in self._open)

    async def sweep_periodically(self) -> None:
        """Closes what is too slow, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            for each in list(self._open):
                each.close_if_too_slow(now)


class Connection(HttpToolsProtocol):
    """A connection that keeps to the budgets of the application behind it.

    Attributes:
        address: Of the client.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (as the base class has them)
        super().__init__(*args, **kwargs)
        self._connections: Connections = self.config.loaded_app.connections
        self._budgets = self._connections.budgets
        self.address = ""
        self._head_since: float | None = None
        self._unread_since: float | None = None
        self._unanswered: deque[RequestResponseCycle] = deque(maxlen=self._budgets.max_pipelined_requests)
        self._not_handed_over = 0  # bytes since the parser last told of a head, of a body's part or of an end

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins, or is refused."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._head_since = self.loop.time()
        if (own := transport.get_extra_info("socket")) is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        try:
            self._connections.add(self)
        except TooManyConnections as problem:
            self._refuse(problem)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends."""
        self._connections.remove(self)
        super().connection_lost(exc)
        for cycle in self._unanswered:  # uvicorn tells the last request alone, and the others would write on
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Hands bytes to uvicorn's parser, until they are too many for a head or too many requests."""
        current_request_id.set(NO_REQUEST)  # what ran here last may have been a request
        for start in range(0, len(data), _SLICE):
            part = data[start : start + _SLICE]
            self._not_handed_over += len(part)
            super().data_received(part)
            if self.transport.is_closing():
                return
            if self._not_handed_over > self._budgets.max_head_bytes:
                self._refuse(HeadTooLarge(f"It has more than {self._budgets.max_head_bytes} bytes."))

    def on_message_begin(self) -> None:
        """A head begins; one too many ends the parsing, so that what comes behind it costs nothing."""
        if self._is_too_far_ahead:
            raise _TooManyAheadError
        super().on_message_begin()
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        self._head_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Answers what cannot be parsed, or cuts off who sends too much ahead."""
        if self._is_too_far_ahead:
            self.transport.abort()
        else:
            super().send_400_response(msg)

    @property
    def _is_too_far_ahead(self) -> bool:
        return bool(len(self.pipeline) >= self._budgets.max_pipelined_requests)

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._head_since, self._not_handed_over = None, 0
        before = self.cycle
        super().on_headers_complete()
        if before is not None and not before.response_complete:
            self._unanswered.append(before)

    def on_body(self, body: bytes) -> None:
        """A part of a body is there."""
        self._not_handed_over = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._not_handed_over = 0
        self.scope["body_is_there"] = True  # type: ignore[typeddict-unknown-key]
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than is written."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has read most of it."""
        self._unread_since = None
        super().resume_writing()

    async def until_read(self) -> None:
        """Waits until the client has read what was answered before."""
        if self._unread_since is not None:
            await self.flow.drain()

    def unread(self) -> int:
        """Returns how many bytes are written that the client has not read."""
        return 0 if self._unread_since is None else self.transport.get_write_buffer_size()

    def close_if_too_slow(self, now: float) -> None:
        """Closes the connection if its head, or the reading of its answer, takes too long."""
        if self.transport.is_closing() and self._unread_since is None:
            self._unread_since = now  # what is left in the buffer has its time too
        if self._unread_since is not None and now - self._unread_since > self._budgets.write_timeout_seconds:
            metrics.REJECTIONS.labels("answer-unread").inc()
            self.transport.abort()
        elif self._head_since is not None and now - self._head_since > self._budgets.head_timeout_seconds:
            self._refuse(HeadTooSlow("The head was not all there in time."))

    def _refuse(self, problem: Problem) -> None:
        """Closes the connection, with a problem if no answer is on its way."""
        metrics.REJECTIONS.labels(problem.slug).inc()
        self._head_since = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(raw_response(problem))
            self.transport.close()
        else:
            self.transport.abort()
