"""What the OpenAPI page says of bodies that routes read themselves, and of problems."""

from typing import Any

from pydantic import BaseModel

from service.problems import (
    BodyTooLarge,
    DeadlineExceeded,
    ModelNotFound,
    ProblemBody,
    QueueFull,
    UnsupportedMediaType,
    WorkerLost,
    WorkersUnavailable,
)

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


WORKER_PROBLEMS: dict[int | str, dict[str, Any]] = {
    kind.status: problem(kind.title) for kind in (QueueFull, WorkerLost, WorkersUnavailable, DeadlineExceeded)
}


def json_body(schema: type[BaseModel], example: dict[str, Any], png: bool = False) -> dict[str, Any]:
    """Returns the `openapi_extra` of a route with a JSON body and, if `png`, a raw PNG one."""
    content: dict[str, Any] = {
        "application/json": {
            "schema": {"$ref": f"#/components/schemas/{schema.__name__}"},
            "example": example,
        }
    }
    if png:
        content["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}
