"""The V2 model repository API: what there is, load, unload."""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.answering import OwnBodyRoute, json_response
from service.api.dependencies import ServiceState, get_state
from service.api.documentation import MODEL_NAME, V2_ERRORS, json_body
from service.errors import Forbidden, invalid_at
from service.http.body import parse_json

router = APIRouter(
    prefix="/v2/repository", tags=["model repository"], responses=V2_ERRORS, route_class=OwnBodyRoute
)

Body = TypeVar("Body", bound=BaseModel)


class IndexRequest(BaseModel):
    """Body of POST /v2/repository/index; may be absent."""

    model_config = ConfigDict(strict=True)

    ready: Annotated[bool, Field(description="Only what is loaded.")] = False


class ChangeRequest(BaseModel):
    """Body of load and unload; may be absent."""

    model_config = ConfigDict(strict=True)

    parameters: dict[str, Any] = Field(default_factory=dict)


class IndexedPackage(BaseModel):
    """A model package in the repository."""

    name: str
    version: str
    state: str
    reason: str


@router.post(
    "/index",
    responses={200: {"model": list[IndexedPackage]}},
    openapi_extra=json_body(IndexRequest, {"ready": True}, required=False),
)
async def index(request: Request) -> Response:
    """List every model package with its state: READY, or UNAVAILABLE and why."""
    asked = await _body(request, IndexRequest)
    found = get_state(request).models.index()
    return json_response([one for one in found if not asked.ready or one["state"] == "READY"])


@router.post("/models/{name}/load", openapi_extra={"parameters": [MODEL_NAME]})
async def load(request: Request) -> Response:
    """Load all versions of a model from the directory, or load them again."""
    service = await _controlled(request)
    await service.models.load(request.path_params["name"])
    return json_response({})


@router.post("/models/{name}/unload", openapi_extra={"parameters": [MODEL_NAME]})
async def unload(request: Request) -> Response:
    """Stop serving a model; requests in progress end on it."""
    service = await _controlled(request)
    await service.models.unload(request.path_params["name"])
    return json_response({})


async def _body(request: Request, schema: type[Body]) -> Body:
    """Reads a body that may be absent, and of any media type: Triton's client names none."""
    return parse_json(schema, await request.body() or b"{}")


async def _controlled(request: Request) -> ServiceState:
    service = get_state(request)
    if not service.settings.model_control:
        raise Forbidden("Loading and unloading is switched off here (WHITEBOX_MODEL_CONTROL).")
    asked = await _body(request, ChangeRequest)
    if given := sorted(set(asked.parameters) - {"unload_dependents"}):
        raise invalid_at(
            ["parameters", given[0]], "models are loaded as they are in the directory, not from here"
        )
    return service
