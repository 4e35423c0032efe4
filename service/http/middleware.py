"""Where every request comes in and every answer goes out.

One ASGI middleware for what concerns all of them: id, API key, limits, metrics, trace, log, safe headers, and
errors that nobody expected. The busiest routes are called from here, past FastAPI's own layers, which would
take a third of a prediction's time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.admission import Reception
from service.http.context import REQUEST_ID, Call, current_request_id
from service.http.problems import SEE_LOG, InternalError, Problem, ServiceStopping, answer_to
from service.http.turns import Turns

_LOGGER = logging.getLogger("service")
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
# What nginx logs where nobody waits for an answer any more.
CLIENT_LEFT = 499
_STOPPING = ServiceStopping("The service is ending; send the request to another one.")

Endpoint = Callable[[Request], Awaitable[Response]]


class Edge:
    """The outermost layer.

    Args:
        app: FastAPI's layers and routes.
        endpoints: POST routes by path that are called from here.
        reception: Who lets requests in and books them.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint], reception: Reception) -> None:
        self.app = app
        self._endpoints, self._reception = dict(endpoints), reception
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and sends what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = scope["call"] = Call(scope["headers"])
        current_request_id.set(call.request_id.decode())
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, call.request_id), *SAFE_HEADERS]
            await send(message)

        self._reception.enter()
        try:
            await self._answer(scope, receive, send_marked, call)
        except ClientDisconnect:
            status = status or CLIENT_LEFT
        except asyncio.CancelledError:  # the server ends and waits no longer
            if not status:
                await answer_to(_STOPPING, scope["path"])(scope, receive, send_marked)
        except Exception:
            _LOGGER.exception("unexpected error in %s", scope["path"])
            if status:
                raise  # half an answer is out; the connection has to break
            await answer_to(InternalError(SEE_LOG), scope["path"])(scope, receive, send_marked)
        finally:
            if call.route == "other" and (matched := scope.get("route")) is not None:
                call.route = matched.path
            self._reception.book(scope["method"], scope["path"], call, status)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        path = scope["path"]
        try:
            self._reception.admit(path, call)
            endpoint = self._endpoints.get(path) if scope["method"] == "POST" else None
            if endpoint is not None:
                call.route = path
                await self._turns.wait()
                response = await endpoint(Request(scope, receive))
        except Problem as problem:
            response = answer_to(problem, path)
        else:
            if endpoint is None:
                await self.app(scope, receive, send)
                return
        await response(scope, receive, send)
