"""Problems as HTTP responses: RFC 9457, or the form that another protocol has for errors under its paths."""

from http import HTTPStatus

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import (
    InternalError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PlacedBox,
    PlacedError,
    Problem,
)
from service.http.unknown import documented_operation, name_nearest_fields
from service.http.validation_errors import invalid_input
from service.telemetry import metrics

# What nginx logs where nobody waits for an answer any more.
CLIENT_LEFT = 499
# Where a request may take JSON or a file, pydantic's places begin with the branch of this name.
JSON_BRANCH = "application/json"


class ProblemBody(BaseModel):
    """An RFC 9457 problem, `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[PlacedError] | None = None
    boxes: list[PlacedBox] | None = None


def problem_response(problem: Problem, path: str) -> Response:
    """Returns the response in the form that the protocol of a path has for errors, and counts it."""
    metrics.REJECTIONS.labels(problem.slug).inc()
    if not _of_other_protocol(path):
        return rendered(problem)
    # The Open Inference Protocol and KServe V1 know bad requests as 400 and nothing more exact.
    status = 400 if problem.status in (415, 422) else problem.status
    error = orjson.dumps({"error": problem.detail})
    return Response(error, status, problem.headers, "application/json")


def rendered(problem: Problem) -> Response:
    """Returns the response of a problem as RFC 9457 has it."""
    content = orjson.dumps(problem.body())
    return Response(content, problem.status, problem.headers, "application/problem+json")


def raw_response(problem: Problem) -> bytes:
    """Returns the bytes of a response after which the connection ends, where there was no request."""
    response = rendered(problem)
    status = HTTPStatus(problem.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def _of_other_protocol(path: str) -> bool:
    if path.startswith("/v1/models/"):
        return path.endswith((":predict", ":explain"))
    return path == "/v2" or path.startswith("/v2/")


def install_handlers(app: FastAPI) -> None:
    """Makes every error of the application a problem."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error, request.url.path)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(_invalid(request, error), request.url.path)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_of_http(request, error), request.url.path)

    async def unexpected(request: Request, _: Exception) -> Response:
        return problem_response(InternalError(), request.url.path)

    async def client_left(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_LEFT)  # for the accounts: nobody reads it

    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(ClientDisconnect, client_left)
    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)


def _invalid(request: Request, error: RequestValidationError) -> InvalidInput:
    """Names places as they are in the body, in the query or in the path, and the nearest known fields."""
    body = documented_operation(request).get("requestBody", {}).get("content", {}).get("application/json", {})
    definitions = request.app.openapi().get("components", {}).get("schemas", {})
    found = [_without_source(each) for each in error.errors()]
    return invalid_input(name_nearest_fields(found, body.get("schema", {}), definitions))


def _without_source(error: ErrorDetails) -> ErrorDetails:
    """Drops from a place that it is in the body, in the query or in the path."""
    loc = error["loc"][1:]
    if error["type"] == "json_invalid":
        return {**error, "loc": (), "msg": f"Invalid JSON: {error['ctx']['error']}"}
    if error["type"] == "missing" and not loc:
        return {**error, "loc": (), "msg": "Invalid JSON: there is no body"}
    if error["type"] == "model_attributes_type":
        error = {**error, "type": "model_type", "msg": "Input should be an object"}
    return {**error, "loc": loc[1:] if loc[:1] == (JSON_BRANCH,) else loc}


def _of_http(request: Request, error: HTTPException) -> Problem:
    path = request.url.path
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method} does not work on {path}.", headers=error.headers)
    if error.status_code == 404:
        return NotFound(f"{path} is no path of this service; /docs lists them.")
    return InvalidInput(str(error.detail))
