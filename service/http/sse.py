"""Server-sent events: how a long piece of work goes, then what came of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.codecs.serialization import to_json
from service.errors import InternalError, Problem
from service.http.disconnect import cancel_on_disconnect

MEDIA_TYPE = "text/event-stream"
# Proxies cut off connections on which nothing moves.
_SECONDS_BETWEEN_SIGNS = 10.0
_LAST = object()

Tell = Callable[[dict[str, Any]], None]


class EventStream(Response):
    """Answers with `progress` events while work goes on, then one `result` or `problem`.

    What fails before the first event is answered as if there were no stream, with its own status.

    Args:
        work: Called with what takes progress; returns the answer. Cancelled when the client leaves.
    """

    media_type = MEDIA_TYPE

    def __init__(self, work: Callable[[Tell], Awaitable[dict[str, Any]]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the work and sends its events."""
        events: asyncio.Queue[Any] = asyncio.Queue()

        async def work() -> dict[str, Any]:
            try:
                return await self._work(events.put_nowait)
            finally:
                events.put_nowait(_LAST)

        async def stream() -> None:
            task = asyncio.ensure_future(work())
            try:
                started = await self._send_progress(events, send)
                await self._send_end(task, started, send)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        await cancel_on_disconnect(Request(scope, receive), stream())

    async def _send_progress(self, events: "asyncio.Queue[Any]", send: Send) -> bool:
        """Sends events up to the last; tells whether anything was sent."""
        started = False
        while True:
            try:
                async with asyncio.timeout(_SECONDS_BETWEEN_SIGNS):
                    event = await events.get()
            except TimeoutError:
                content = b": still at work\n\n"
            else:
                if event is _LAST:
                    return started
                content = _event("progress", event)
            started = await self._send(content, started, send)

    async def _send_end(self, task: "asyncio.Future[dict[str, Any]]", started: bool, send: Send) -> None:
        try:
            content = _event("result", await task)
        except Problem as problem:
            if not started:
                raise
            content = _event("problem", problem.body())
        except Exception:
            if not started:
                raise
            content = _event("problem", InternalError().body())
        await self._send(content, started, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, content: bytes, started: bool, send: Send) -> bool:
        if not started:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": content, "more_body": True})
        return True


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + to_json(data) + b"\n\n"
