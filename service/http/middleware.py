"""The outermost ASGI layer: what concerns every request, and the hot path past FastAPI.

Request context, admission, body limits, safe headers, accounting, and errors that nobody expected, in one
place: each ASGI layer around a prediction costs a coroutine and a wrapped `send`. The busiest routes have a
handler that is called from here; everything else goes to FastAPI (docs/decisions/0009).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.budgets import SMALL_BODY
from service.errors import InternalError, Problem, ServiceStopping
from service.http.body import replayed
from service.http.context import REQUEST_ID, RequestContext
from service.http.problems import CLIENT_LEFT, problem_response, rendered
from service.http.protection.admission import QUEUE_FULL, AdmissionControl
from service.http.protection.buffers import InputBuffers, OutputBuffers
from service.http.protection.concurrency import ConcurrencyLimit
from service.http.protection.strangers import Strangers
from service.telemetry import metrics
from service.telemetry.logs import current_request_id

_LOGGER = logging.getLogger("service")
_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_QUEUE_FULL = rendered(QUEUE_FULL)
_COUNT_QUEUE_FULL = metrics.REJECTIONS.labels(QUEUE_FULL.slug).inc
_JSON = (b"content-type", b"application/json")
_EXPLAIN = "explain"  # /v1/explain, and :explain of KServe's V1

# Takes the scope, the whole body and the context of a POST; returns the JSON of a 200, or raises a Problem.
Handler = Callable[[Scope, bytes, RequestContext], Awaitable[bytes]]


class RequestMiddleware:
    """Passes every request on and accounts for its answer.

    Args:
        app: FastAPI's layers and routes.
        handlers: By path, what answers its POST requests past FastAPI.
        strangers: Refuses requests of pages of other sites.
        admission: Admits requests and accounts for them.
        predictions: Limits the small ones that the handlers answer.
        bodies: Reads bodies.
        answers: Where routes reserve room for large answers.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[str, Handler],
        strangers: Strangers,
        admission: AdmissionControl,
        predictions: ConcurrencyLimit,
        bodies: InputBuffers,
        answers: OutputBuffers,
    ) -> None:
        self._app, self._handlers, self._strangers = app, dict(handlers), strangers
        self._admission, self._predictions = admission, predictions
        self._bodies, self._answers = bodies, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = scope["context"] = RequestContext(scope["headers"])
        current_request_id.set(context.request_id.decode())
        response = _TrackedResponse(send, context.request_id)
        try:
            await self._answer(scope, receive, response, context)
        finally:
            self._bodies.release(context)
            self._answers.release(context)
            if context.route == "other" and (matched := scope.get("route")) is not None:
                context.route = matched.path
            self._admission.finish(scope["method"], scope["path"], context, response.status)

    async def _answer(
        self, scope: Scope, receive: Receive, response: "_TrackedResponse", context: RequestContext
    ) -> None:
        problem: Problem
        try:
            await self._handle(scope, receive, response, context)
            return
        except ClientDisconnect:
            response.status = response.status or CLIENT_LEFT
            return
        except Problem as error:
            # Else this frame and the traceback would keep each other, and a refused body, until garbage is
            # collected.
            problem = error.with_traceback(None)
            problem.__context__ = None
        except asyncio.CancelledError:  # the server ends and waits no longer
            problem = ServiceStopping("The service is ending; send the request to another one.")
        except Exception:
            _LOGGER.exception("unexpected error in %s", scope["path"])
            problem = InternalError()
        if response.complete:
            return
        if response.status:
            raise problem  # half an answer is out; the connection has to break
        await problem_response(problem, scope["path"])(scope, receive, response.send)

    async def _handle(
        self, scope: Scope, receive: Receive, response: "_TrackedResponse", context: RequestContext
    ) -> None:
        if context.fault is not None:
            raise context.fault
        if (connection := scope.get("connection")) is not None:
            await connection.until_read()  # who does not read an answer is not worked for
        path = scope["path"]
        self._strangers.refuse(context.headers, scope["method"], path)
        handler = self._handlers.get(path) if scope["method"] == "POST" else None
        if handler is not None:
            context.route = path
            if self._admission.is_full or self._predictions.is_full:
                await self._refuse(response)
                return
        self._admission.admit(path, context)
        body = await self._bodies.read(receive, context, "body_is_there" in scope)
        context.mark("read")
        self._admission.begin(path, context)
        if handler is None:
            if len(body) > SMALL_BODY and path.endswith(_EXPLAIN):
                self._answers.refuse_early(len(body))
            await self._app(scope, replayed(body, receive), response.send)
            return
        content = await self._predict(handler, scope, body, context)
        length = (b"content-length", b"%d" % len(content))
        await response.send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
        await response.send({"type": "http.response.body", "body": content})

    async def _predict(self, handler: Handler, scope: Scope, body: bytes, context: RequestContext) -> bytes:
        if len(body) > SMALL_BODY:  # takes its time whatever goes on; the batcher limits what waits of them
            return await handler(scope, body, context)
        began = self._predictions.begin()
        try:
            return await handler(scope, body, context)
        finally:
            self._predictions.end(began)

    async def _refuse(self, response: "_TrackedResponse") -> None:
        """Refuses as `admit` would, more cheaply: what refusals cost under overload, answers lose."""
        _COUNT_QUEUE_FULL()
        headers = _QUEUE_FULL.raw_headers
        await response.send({"type": "http.response.start", "status": 429, "headers": headers})
        await response.send({"type": "http.response.body", "body": _QUEUE_FULL.body})


class _TrackedResponse:
    """Sends one response with the headers that every response has.

    Attributes:
        status: Its status, 0 until it has begun.
        complete: Whether all of it is sent.
    """

    __slots__ = ("_request_id", "_send", "complete", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send, self._request_id = send, request_id
        self.status, self.complete = 0, False

    async def send(self, message: Message) -> None:
        """Sends a message of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            ours = (header for header in _SAFE_HEADERS if header[0] not in given)
            message["headers"] = [*message["headers"], (REQUEST_ID, self._request_id), *ours]
        else:
            self.complete = not message.get("more_body", False)
        await self._send(message)
