"""Nothing but uvicorn: an application that reads each request and answers it, whatever it is."""

from collections.abc import Awaitable, Callable
from typing import Any


async def app(
    _scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Awaitable[None]]
) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
