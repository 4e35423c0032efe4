"""What the OpenAPI page says of bodies that routes read themselves, and of problems."""

from typing import Any

from pydantic import BaseModel

from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Forbidden,
    ModelNotFound,
    ModelNotLoadable,
    QueueFull,
    UnsupportedMediaType,
    WorkerLost,
    WorkersUnavailable,
)
from service.http.problems import ProblemBody

# examples/three.png, a test digit of MNIST
EXAMPLE_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAA0ElEQVR42tWSIQ/CQAyFj+GYQdzsNLPwI9DDkpBgEJgFjQSN"
    "XXAEJKBJUEwvAXVMgkVMkCH7OgSEEbhzGFrRS1/eu+RLhfjHcgYRg8GrlkbcgB6d1Yql9ZzSSrf9/SEt2cG30w/rQggvIgSG"
    "j23FiA3aUBHI12sNMDh03jbl4nn1ZS7cru0k+twTg8FNfbKsjxRhZ0Y1Z/Q+IBTl5Xlico7BbVPoBHRx9Zp3BCuDb5GBVhUd"
    "1/UaOc56emMCYSn1kVPc4s8reLGtylkn+dnV3QFHC1tlc6HoywAAAABJRU5ErkJggg=="
)


def problem(description: str) -> dict[str, Any]:
    """Returns the documentation of an answer that is a problem."""
    schema = {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


MODEL_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: problem(ModelNotFound.title)}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    **MODEL_NOT_FOUND,
    413: problem(BodyTooLarge.title),
    415: problem(UnsupportedMediaType.title),
    422: problem("The input is not valid; `errors` names the places"),
}


TIMED_PROBLEMS: dict[int | str, dict[str, Any]] = {
    kind.status: problem(kind.title) for kind in (BodyTooSlow, QueueFull, DeadlineExceeded)
}
WORKER_PROBLEMS: dict[int | str, dict[str, Any]] = {
    kind.status: problem(kind.title)
    for kind in (BodyTooSlow, QueueFull, WorkerLost, WorkersUnavailable, DeadlineExceeded)
}


def json_body(
    schema: type[BaseModel], example: dict[str, Any], png: bool = False, required: bool = True
) -> dict[str, Any]:
    """Returns the `openapi_extra` of a route with a JSON body and, if `png`, a raw PNG one."""
    content: dict[str, Any] = {
        "application/json": {
            "schema": {"$ref": f"#/components/schemas/{schema.__name__}"},
            "example": example,
        }
    }
    if png:
        content["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": required, "content": content}}


class ErrorBody(BaseModel):
    """An error as the Open Inference Protocol and KServe V1 tell it."""

    error: str


_ERRORS = {
    400: "The request is not valid",
    404: ModelNotFound.title,
    408: BodyTooSlow.title,
    413: BodyTooLarge.title,
    429: QueueFull.title,
    504: DeadlineExceeded.title,
}
V1_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description} for status, description in _ERRORS.items()
}
V2_ERRORS: dict[int | str, dict[str, Any]] = {
    **V1_ERRORS,
    403: {"model": ErrorBody, "description": Forbidden.title},
    409: {"model": ErrorBody, "description": ModelNotLoadable.title},
}


def _in_path(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


# Routes that read their requests themselves have to name what is in their paths.
MODEL_NAME = _in_path("name", "Name of a loaded model.", "mnist-3v5")
MODEL_VERSION = _in_path("version", "A loaded version of it.", "1")
