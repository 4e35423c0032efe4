"""Routes whose JSON bodies are parsed by pydantic's parser, large ones off the event loop.

FastAPI's way to do so is a `Request` of one's own in a route class of one's own:
https://fastapi.tiangolo.com/how-to/custom-request-and-route/
"""

from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import Request

from service.codecs.preprocessing import MEDIA_TYPES
from service.errors import UnsupportedMediaType, invalid_at
from service.http.body import off_the_loop

RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]


class JSONRequest(Request):
    """A request whose body is parsed in a thread if it is large."""

    async def json(self) -> Any:  # noqa: ANN401 (as the base class has it)
        """Returns the body's values.

        Raises:
            JSONDecodeError: It is not JSON.
        """
        body = await self.body()
        try:
            return await off_the_loop(body, lambda: from_json(body))
        except ValueError as error:
            raise JSONDecodeError(str(error), "", 0) from None


class JSONRoute(APIRoute):
    """A route that takes JSON."""

    def get_route_handler(self) -> RouteHandler:
        """Returns FastAPI's handler, given a `JSONRequest`."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JSONRequest(request.scope, request.receive))

        return handle_json


class AnyMediaTypeRoute(JSONRoute):
    """A route that takes JSON whatever `Content-Type` says.

    Clients of KServe's and Triton's protocols send none, or curl's for forms.
    """

    def get_route_handler(self) -> RouteHandler:
        """Returns a handler that is told that the body is JSON."""
        handle = super().get_route_handler()

        async def handle_as_json(request: Request) -> Response:
            others = [header for header in request.scope["headers"] if header[0] != b"content-type"]
            headers = [*others, (b"content-type", b"application/json")]
            return await handle(Request({**request.scope, "headers": headers}, request.receive))

        return handle_as_json


async def require_json(request: Request) -> None:
    """Dependency of routes that take JSON alone.

    Raises:
        UnsupportedMediaType: The body is something else.
    """
    if (media_type := _media_type(request)) != "application/json":
        raise UnsupportedMediaType(
            f"Content-Type is {media_type or 'missing'}; send application/json: this call has settings, such "
            f"as epsilon, beside its images."
        )


async def require_json_or_image(request: Request) -> None:
    """Dependency of routes that take JSON or the file of one image.

    Raises:
        UnsupportedMediaType: The body is something else.
        InvalidInput: The file is empty.
    """
    if (media_type := _media_type(request)) not in ("application/json", *MEDIA_TYPES):
        raise UnsupportedMediaType(
            f"Content-Type is {media_type or 'missing'}; send application/json or one of "
            f"{', '.join(MEDIA_TYPES)}."
        )
    if media_type in MEDIA_TYPES and not await request.body():
        raise invalid_at([], "not a readable PNG, JPEG or WebP: the file is empty")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
