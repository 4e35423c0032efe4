"""The V2 model repository API: what there is, load, unload."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, Field

from service.problems import Forbidden, invalid_at
from service.routes.documented import V2_ERRORS
from service.state import Service, service_of

router = APIRouter(prefix="/v2/repository", tags=["model repository"], responses=V2_ERRORS)


class IndexRequest(BaseModel):
    """Body of POST /v2/repository/index; may be absent."""

    ready: Annotated[bool, Field(description="Only what is loaded.")] = False


class ChangeRequest(BaseModel):
    """Body of load and unload; may be absent."""

    parameters: dict[str, Any] = Field(default_factory=dict)


class IndexedPackage(BaseModel):
    """A model package in the repository."""

    name: str
    version: str
    state: str
    reason: str


Change = Annotated[ChangeRequest | None, Body()]


@router.post("/index", response_model=list[IndexedPackage])
async def index(
    request: Request, asked: Annotated[IndexRequest | None, Body()] = None
) -> list[dict[str, str]]:
    """List every model package with its state: READY, or UNAVAILABLE and why."""
    found = service_of(request).models.index()
    return [one for one in found if one["state"] == "READY"] if asked and asked.ready else found


@router.post("/models/{name}/load", status_code=200)
async def load(request: Request, name: str, asked: Change = None) -> Response:
    """Load all versions of a model from the directory, or load them again."""
    await _controlled(request, asked).models.load(name)
    return Response(b"{}", media_type="application/json")


@router.post("/models/{name}/unload", status_code=200)
async def unload(request: Request, name: str, asked: Change = None) -> Response:
    """Stop serving a model; requests in progress end on it."""
    await _controlled(request, asked).models.unload(name)
    return Response(b"{}", media_type="application/json")


def _controlled(request: Request, asked: ChangeRequest | None) -> Service:
    service = service_of(request)
    if not service.settings.model_control:
        raise Forbidden("Loading and unloading is switched off here (WHITEBOX_MODEL_CONTROL).")
    given = set(asked.parameters) - {"unload_dependents"} if asked else set()
    if given:
        raise invalid_at(
            ["parameters", sorted(given)[0]], "models are loaded as they are in the directory, not from here"
        )
    return service
