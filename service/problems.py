"""Every error the service answers with, as RFC 9457 problems; the one mapping to HTTP.

Raise a `Problem` anywhere behind a route. A type is stable: clients may branch on it.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOGGER = logging.getLogger("service")
_MOST_ERRORS_SHOWN = 20
SEE_LOG = "The service failed on this request. Its log has more under the X-Request-ID of this answer."


class PlacedError(BaseModel):
    """One thing that is wrong with the input, and where."""

    loc: list[str | int]
    msg: str


class ProblemBody(BaseModel):
    """An RFC 9457 problem, `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[PlacedError] | None = None


class Problem(Exception):  # noqa: N818 (RFC 9457's word)
    """Base of all errors that a client sees.

    Args:
        detail: What is wrong with this request and what would be right.
        errors: The places in the input, if it is about input.
        headers: Extra response headers.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(
        self,
        detail: str,
        errors: Sequence[PlacedError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.errors, self.headers = detail, errors, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Returns the problem as plain JSON values."""
        body: dict[str, Any] = {
            "type": f"urn:whitebox:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors is not None:
            body["errors"] = [error.model_dump() for error in self.errors]
        return body

    def response(self) -> Response:
        """Returns the HTTP answer."""
        return Response(orjson.dumps(self.body()), self.status, self.headers, "application/problem+json")


class InvalidInput(Problem):
    """The request can be read but not answered."""

    slug, title, status = "invalid-input", "The input is not valid", 422


class UnsupportedMediaType(Problem):
    """The body is neither JSON nor, where that works, a PNG."""

    slug, title, status = "unsupported-media-type", "The media type is not supported", 415


class BodyTooLarge(Problem):
    """The body is larger than the service reads."""

    slug, title, status = "body-too-large", "The body is too large", 413


class ModelNotFound(Problem):
    """No loaded model has the name."""

    slug, title, status = "model-not-found", "The model is not loaded", 404


class NotFound(Problem):
    """There is nothing at the path."""

    slug, title, status = "not-found", "There is nothing at this path", 404


class MethodNotAllowed(Problem):
    """The path exists, not with this method."""

    slug, title, status = "method-not-allowed", "The method is not allowed here", 405


class QueueFull(Problem):
    """As many requests wait for a worker process as may wait."""

    slug, title, status = "queue-full", "Too many requests are waiting", 429


class WorkersUnavailable(Problem):
    """The service runs without worker processes for this, or they cannot start."""

    slug, title, status = "workers-unavailable", "This service runs no workers for this", 503


class WorkerLost(Problem):
    """The process that worked on the request died; only this request is affected."""

    slug, title, status = "worker-lost", "The worker process died", 500


class DeadlineExceeded(Problem):
    """The time ran out before there was anything to answer."""

    slug, title, status = "deadline-exceeded", "The time ran out", 504


class InternalError(Problem):
    """A defect of the service; the log has the details under the request's id."""

    slug, title, status = "internal-error", "The service failed", 500


def invalid_input(error: ValidationError | RequestValidationError) -> InvalidInput:
    """Turns pydantic's findings into a problem that names each place."""
    found = [e for e in error.errors() if not _of_other_branch(e)]
    placed = [PlacedError(loc=_place(e["loc"]), msg=e["msg"]) for e in found[:_MOST_ERRORS_SHOWN]]
    first = placed[0]
    where = ".".join(map(str, first.loc)) or "the body"
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    return InvalidInput(f"{where}: {first.msg}{more}", placed)


def invalid_at(loc: list[str | int], message: str) -> InvalidInput:
    """Returns the problem of one place in the input; an empty place is the body itself."""
    where = ".".join(map(str, loc)) or "the body"
    return InvalidInput(f"{where}: {message}", [PlacedError(loc=loc, msg=message)])


def _in_image(loc: Sequence[str | int]) -> bool:
    """Tells whether a place is inside one image: images.N.BRANCH, where pydantic names the union's branch."""
    return len(loc) > 2 and loc[0] == "images"


def _of_other_branch(error: Mapping[str, Any]) -> bool:
    """Tells whether the error only says that a nested list is no PNG object, or the reverse."""
    is_object = isinstance(error["input"], dict)
    wrong_kind = {"model_type"} if not is_object else {"list_type"}
    return len(error["loc"]) == 3 and _in_image(error["loc"]) and error["type"] in wrong_kind


def _place(loc: Sequence[str | int]) -> list[str | int]:
    """Drops the name that pydantic gives to the branch of an image's union, at images.N.BRANCH."""
    return [*loc[:2], *loc[3:]] if _in_image(loc) else list(loc)


class UnexpectedErrors:
    """ASGI middleware: an error that nobody expected becomes a problem, and its story goes to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and answers for it if that fails."""
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            _LOGGER.exception("unexpected error in %s", scope["path"])
            await InternalError(SEE_LOG).response()(scope, receive, send)


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return invalid_input(error).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            detail = f"{request.method} does not work on {request.url.path}."
            return MethodNotAllowed(detail, headers=error.headers).response()
        if error.status_code == 404:
            detail = f"{request.url.path} is no path of this service; /docs lists them."
            return NotFound(detail).response()
        return InvalidInput(str(error.detail)).response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_middleware(UnexpectedErrors)
