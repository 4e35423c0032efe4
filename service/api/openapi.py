"""What the OpenAPI document holds besides the routes' types: problems, security schemes, raw bodies."""

from typing import Any

from fastapi import Security
from fastapi.openapi.models import Example
from fastapi.params import Depends
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

from service.codecs.preprocessing import MEDIA_TYPES
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    ModelNotFound,
    ModelNotLoadable,
    Problem,
    QueueFull,
    UnsupportedMediaType,
    WorkerLost,
    WorkersUnavailable,
)
from service.http.problems import ProblemBody

Responses = dict[int | str, dict[str, Any]]

# examples/three.png, a test digit of MNIST
EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAA0ElEQVR42tWSIQ/CQAyFj+GYQdzsNLPwI9DDkpBgEJgFjQSN"
    "XXAEJKBJUEwvAXVMgkVMkCH7OgSEEbhzGFrRS1/eu+RLhfjHcgYRg8GrlkbcgB6d1Yql9ZzSSrf9/SEt2cG30w/rQggvIgSG"
    "j23FiA3aUBHI12sNMDh03jbl4nn1ZS7cru0k+twTg8FNfbKsjxRhZ0Y1Z/Q+IBTl5Xlico7BbVPoBHRx9Zp3BCuDb5GBVhUd"
    "1/UaOc56emMCYSn1kVPc4s8reLGtylkn+dnV3QFHC1tlc6HoywAAAABJRU5ErkJggg=="
)
EXAMPLE_IMAGE = {"image": EXAMPLE_PNG}

# FastAPI knows one media type a body: what may come beside JSON is told here.
_BINARY = {"schema": {"type": "string", "format": "binary"}}
RAW_IMAGE_BODY: dict[str, Any] = {"requestBody": {"content": dict.fromkeys(MEDIA_TYPES, _BINARY)}}
BINARY_TENSOR_BODY: dict[str, Any] = {"requestBody": {"content": {"application/octet-stream": _BINARY}}}


def body_examples(**values: dict[str, Any]) -> dict[str, Example]:
    """Returns examples of a JSON body by name, the underscores of names as spaces."""
    return {name.replace("_", " "): Example(value=value) for name, value in values.items()}


def problem_responses(*kinds: type[Problem]) -> Responses:
    """Returns the documentation of answers that are RFC 9457 problems."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {kind.status: {"description": kind.title, "content": content} for kind in kinds}


_BODY_PROBLEMS = (ModelNotFound, BodyTooSlow, BodyTooLarge, UnsupportedMediaType, InvalidInput)
MODEL_PROBLEMS = problem_responses(ModelNotFound, InvalidInput)
INFERENCE_PROBLEMS = problem_responses(*_BODY_PROBLEMS, QueueFull, DeadlineExceeded)
WORKER_PROBLEMS = problem_responses(
    *_BODY_PROBLEMS, ModelNotLoadable, QueueFull, WorkerLost, WorkersUnavailable, DeadlineExceeded
)


class ErrorBody(BaseModel):
    """An error as the Open Inference Protocol and KServe V1 tell it."""

    error: str


def error_responses(*kinds: type[Problem]) -> Responses:
    """Returns the documentation of the same problems in the form of those protocols."""
    bad_request: Responses = {400: {"model": ErrorBody, "description": "The request is not valid"}}
    return bad_request | {kind.status: {"model": ErrorBody, "description": kind.title} for kind in kinds}


V1_ERRORS = error_responses(ModelNotFound, BodyTooSlow, BodyTooLarge, QueueFull, DeadlineExceeded)
V2_ERRORS = V1_ERRORS
REPOSITORY_ERRORS = error_responses(
    Forbidden, ModelNotFound, BodyTooSlow, ModelNotLoadable, BodyTooLarge, QueueFull
)


def api_key_security() -> list[Depends]:
    """Returns dependencies that document where a request's API key may stand.

    They refuse nothing: `service.http.protection.admission` does, before FastAPI is asked.
    """
    header = APIKeyHeader(name="X-API-Key", scheme_name="X-API-Key", auto_error=False)
    bearer = HTTPBearer(scheme_name="Bearer", description="The same key.", auto_error=False)
    return [Security(header), Security(bearer)]


def operation_id(route: APIRoute) -> str:
    """Names an operation as its function is named."""
    return route.name


def describe_problems(document: dict[str, Any]) -> None:
    """Replaces FastAPI's own errors, which are never answered here, in an OpenAPI document."""
    schemas = document["components"]["schemas"]
    for own in ("HTTPValidationError", "ValidationError"):
        schemas.pop(own, None)
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"), ProblemBody=problem)
    for path in document["paths"].values():
        for operation in path.values():
            described = operation["responses"].get("422", {}).get("content", {})
            if "HTTPValidationError" in str(described.get("application/json")):
                del operation["responses"]["422"]
