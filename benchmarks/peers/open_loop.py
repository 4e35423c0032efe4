"""Load at a constant rate, whatever the server does.

A client that waits for an answer before it sends the next request (wrk) slows down with the server and hides
how long requests would have queued. Here requests are due at fixed times and every latency counts from the
time when the request was *due*, even if it was sent late or had to wait for a free connection.
"""

import asyncio
import gc
import time
from collections import Counter, defaultdict, deque
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.wire import Answer, Connection, connect

_TICK = 0.001  # uvloop's timers are no finer; what is due within one goes out together
_OPENED_BEFORE = 512


class OpenLoop:
    """Sends one request again and again to a port of this machine.

    Args:
        port: Where the server listens.
        request: The bytes of the request.
        most_connections: When so many requests are on their way, those that are due wait here.
    """

    def __init__(self, port: int, request: bytes, most_connections: int = 1024) -> None:
        self._port, self._request, self._most = port, request, most_connections
        self._free: list[Connection] = []
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[float] = deque()  # due, but without a connection
        self._under_way: dict[Connection, float] = {}
        self._latencies: defaultdict[int, list[float]] = defaultdict(list)
        self._lags: list[float] = []
        self._errors: Counter[str] = Counter()
        self._never: list[float] = []
        self._seconds = 0.0

    async def offer(self, rate: float, seconds: float) -> None:
        """Sends `rate` requests a second for so long."""
        for _ in range(_OPENED_BEFORE):
            self._free.append(await self._connect())
        self._seconds = seconds
        gc.disable()
        try:
            await self._send_all(rate, int(rate * seconds))
        finally:
            gc.enable()

    async def _send_all(self, rate: float, count: int) -> None:
        started, sent = time.perf_counter(), 0
        while sent < count:
            now = time.perf_counter()
            while sent < count and started + sent / rate <= now:
                self._send(started + sent / rate, now)
                sent += 1
            await asyncio.sleep(max(_TICK, started + sent / rate - time.perf_counter()))

    def give_up_waiting(self) -> None:
        """Never sends what still waits for a free connection: it stays unanswered."""
        now = time.perf_counter()
        self._never += [now - due for due in self._waiting]
        self._waiting.clear()

    async def finish(self, seconds: float = 2.0) -> None:
        """Waits so long at most for answers that are still to come, and closes all connections."""
        end = time.perf_counter() + seconds
        while (self._under_way or self._waiting or self._opening) and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        self.give_up_waiting()
        now = time.perf_counter()
        self._never += [now - due for due in self._under_way.values()]
        self._under_way.clear()
        for connection in self._connections:
            connection.transport.abort()
        await asyncio.sleep(0)

    def outcome(self, deadline: float) -> dict[str, Any]:
        """Returns the counts and the latencies, once finished.

        Requests that were never answered count in the percentiles with the time that they had waited.

        Args:
            deadline: Seconds within which an answer is of use.
        """
        good = self._latencies[200]
        latencies = {str(status): _percentiles(found) for status, found in sorted(self._latencies.items())}
        return {
            "goodput": sum(latency <= deadline for latency in good) / self._seconds,
            **_percentiles(good + self._never),
            "by_status": latencies,
            "unanswered": len(self._never),
            "errors": dict(self._errors),
            "connections": len(self._connections),
            "sent_late_p99_ms": _percentiles(self._lags)["p99_ms"],
        }

    def _send(self, due: float, now: float) -> None:
        self._lags.append(now - due)
        while self._free:
            connection = self._free.pop()
            if connection.open:
                self._ask(connection, due)
                return
            self._connections.discard(connection)
        self._waiting.append(due)
        if len(self._connections) + len(self._opening) < self._most:
            task = asyncio.create_task(self._open_one_more())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _ask(self, connection: Connection, due: float) -> None:
        self._under_way[connection] = due
        connection.send(self._request, partial(self._answered, connection, due))

    def _answered(self, connection: Connection, due: float, answer: Answer | None) -> None:
        if self._under_way.pop(connection, None) is None:
            return  # it came after the end
        if answer is None:
            self._errors["connection lost"] += 1
        else:
            self._latencies[answer.status].append(time.perf_counter() - due)
        self._release(connection)

    def _release(self, connection: Connection) -> None:
        if not connection.open:
            self._connections.discard(connection)
        elif self._waiting:
            self._ask(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    async def _open_one_more(self) -> None:
        try:
            self._release(await self._connect())
        except OSError as error:
            self._errors[type(error).__name__] += 1
            if self._waiting:
                self._waiting.popleft()

    async def _connect(self) -> Connection:
        connection = await connect(self._port)
        self._connections.add(connection)
        return connection


def _percentiles(latencies: list[float]) -> dict[str, Any]:
    if not latencies:
        return {"count": 0, "p50_ms": None, "p99_ms": None}
    p50, p99 = (1000 * np.percentile(latencies, (50, 99))).round(2).tolist()
    return {"count": len(latencies), "p50_ms": p50, "p99_ms": p99}
