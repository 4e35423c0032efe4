"""Routes whose JSON bodies are measured and parsed by us before FastAPI, large ones off the event loop.

FastAPI's way to do so is a `Request` of one's own in a route class of one's own:
https://fastapi.tiangolo.com/how-to/custom-request-and-route/
"""

from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute
from starlette.requests import Request

from service.budgets import SMALL_BODY, Budgets
from service.codecs.preprocessing import MEDIA_TYPES
from service.errors import UnsupportedMediaType, invalid_at
from service.http.context import get_context
from service.http.json_body import parse_values

RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]

JSON = "application/json"
_BINARY = "application/octet-stream"


class JSONRequest(Request):
    """A request whose JSON has been parsed before FastAPI asks for it."""

    _values: Any = None
    _error: JSONDecodeError | None = None

    async def parse(self) -> None:
        """Parses the body, in a thread if it is large.

        Raises:
            Problem: It has too many values, or there is no thread for it in time.
        """
        body, state = await self.body(), self.app.state
        budgets: Budgets = state.budgets
        deadline = get_context(self).deadline(budgets.request_timeout_ms / 1000)
        try:
            self._values = await state.threads.run_or_here(
                len(body) <= SMALL_BODY, "parse", deadline, lambda: parse_values(body, budgets)
            )
        except ValueError as error:
            self._error = JSONDecodeError(str(error), "", 0)

    async def json(self) -> Any:  # noqa: ANN401 (as the base class has it)
        """Returns the body's values.

        Raises:
            JSONDecodeError: It is not JSON.
        """
        if self._error is not None:
            raise self._error
        return self._values


class JSONRoute(APIRoute):
    """A route that takes JSON."""

    def get_route_handler(self) -> RouteHandler:
        """Returns FastAPI's handler, given a `JSONRequest`."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            own = JSONRequest(request.scope, request.receive)
            if media_type(own) == JSON and await own.body():
                await own.parse()
            return await handle(own)

        return handle_json


class AnyMediaTypeRoute(JSONRoute):
    """A route that takes JSON without a `Content-Type` too, or with that of tensors.

    So do clients of KServe's and Triton's protocols. Other types are refused: those that a form or a script
    of any web page may send without asking.
    """

    def get_route_handler(self) -> RouteHandler:
        """Returns a handler that is told that the body is JSON."""
        handle = super().get_route_handler()

        async def handle_as_json(request: Request) -> Response:
            if (given := media_type(request)) not in ("", JSON, _BINARY):
                raise UnsupportedMediaType(f"Content-Type is {given}; send {JSON}.")
            others = [header for header in request.scope["headers"] if header[0] != b"content-type"]
            headers = [*others, (b"content-type", JSON.encode())]
            return await handle(Request({**request.scope, "headers": headers}, request.receive))

        return handle_as_json


async def require_json(request: Request) -> None:
    """Dependency of routes that take JSON alone.

    Raises:
        UnsupportedMediaType: The body is something else.
    """
    if (given := media_type(request)) != JSON:
        raise UnsupportedMediaType(
            f"Content-Type is {given or 'missing'}; send {JSON}: this call has settings, such "
            f"as epsilon, beside its images."
        )


async def require_json_or_image(request: Request) -> None:
    """Dependency of routes that take JSON or the file of one image.

    Raises:
        UnsupportedMediaType: The body is something else.
        InvalidInput: The file is empty.
    """
    if (given := media_type(request)) not in (JSON, *MEDIA_TYPES):
        raise UnsupportedMediaType(
            f"Content-Type is {given or 'missing'}; send {JSON} or one of {', '.join(MEDIA_TYPES)}."
        )
    if given in MEDIA_TYPES and not await request.body():
        raise invalid_at([], "not a readable PNG, JPEG or WebP: the file is empty")


def media_type(request: Request) -> str:
    """Returns the media type of a request's body, without parameters, empty without one."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
