"""Routes whose JSON bodies are measured and parsed by us before FastAPI, large ones off the event loop.

FastAPI's way to do so is a `Request` of one's own in a route class of one's own:
https://fastapi.tiangolo.com/how-to/custom-request-and-route/
"""

from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Response, params
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
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

    async def parse(self, schema: TypeAdapter[Any]) -> None:
        """Parses the body by a schema, in a thread if it is large.

        What does not validate is left to FastAPI, which tells why.

        Raises:
            Problem: It has too many values, or there is no thread for it in time.
        """
        body, state = await self.body(), self.app.state
        budgets: Budgets = state.budgets
        deadline = get_context(self).deadline(budgets.request_timeout_ms / 1000)

        def validated() -> Any:  # noqa: ANN401 (whatever JSON can hold)
            return _validated(schema, parse_values(body, budgets))

        try:
            is_small = len(body) <= SMALL_BODY
            self._values = await state.threads.run_or_here(is_small, "parse", deadline, validated)
        except ValueError as error:
            self._error = JSONDecodeError(str(error), "", 0)

    async def json(self) -> Any:  # noqa: ANN401 (as the base class has it)
        """Returns what the body holds, an instance of the schema if it is one.

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
        schema = _schema_of_body(self.endpoint)

        async def handle_json(request: Request) -> Response:
            own = JSONRequest(request.scope, request.receive)
            if media_type(own) == JSON and await own.body():
                await own.parse(schema)
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


def _schema_of_body(endpoint: Callable[..., Any]) -> TypeAdapter[Any]:
    """Returns the schema of the parameter `body` of a route, without what FastAPI is told of it."""
    body = get_type_hints(endpoint, include_extras=True).get("body", Any)
    inner, *metadata = get_args(body) if get_origin(body) is Annotated else [body]
    kept = [each for each in metadata if not isinstance(each, params.Body)]
    return TypeAdapter(Annotated[inner, *kept] if kept else inner)


def _validated(schema: TypeAdapter[Any], values: Any) -> Any:  # noqa: ANN401 (whatever JSON can hold)
    try:
        return schema.validate_python(values)
    except ValidationError:
        return values


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
