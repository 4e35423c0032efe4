"""Every answer, and every line of the log about it, carries the request's X-Request-ID."""

import logging
import re
import uuid
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
_ACCEPTABLE = re.compile(rb"[\x21-\x7e]{1,128}")


_CURRENT: ContextVar[str] = ContextVar("request_id", default="-")


def log_with_request_ids(level: str) -> None:
    """Sets up logging to standard error, each line with the id of the request it is about."""

    def add_id(record: logging.LogRecord) -> bool:
        record.request_id = _CURRENT.get()
        return True

    handler = logging.StreamHandler()
    handler.addFilter(add_id)
    handler.setFormatter(logging.Formatter("%(levelname)s [%(request_id)s] %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class RequestIds:
    """ASGI middleware: takes the client's id or makes one, and adds it to log and answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and adds the header to what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given(scope) or uuid.uuid4().hex.encode()
        _CURRENT.set(request_id.decode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id)]
            await send(message)

        await self.app(scope, receive, send_with_id)


def _given(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == HEADER and _ACCEPTABLE.fullmatch(value):
            return bytes(value)
    return None
