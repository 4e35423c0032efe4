"""The V2 model repository API: what there is, load, unload."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends

from service.api.dependencies import Context, CurrentSettings, ModelName, Models
from service.api.openapi import REPOSITORY_ERRORS, body_examples
from service.api.openinference.schemas import (
    RepositoryIndexEntry,
    RepositoryIndexRequest,
    RepositoryModelRequest,
    RepositoryModelResponse,
)
from service.errors import Forbidden, invalid_at
from service.http.routing import AnyMediaTypeRoute

router = APIRouter(
    prefix="/v2/repository",
    tags=["model repository"],
    responses=REPOSITORY_ERRORS,
    route_class=AnyMediaTypeRoute,
)


async def allow_model_control(
    settings: CurrentSettings, context: Context, body: RepositoryModelRequest | None = None
) -> None:
    """Dependency of what changes the models.

    Raises:
        Forbidden: The settings, or the role of the request's key, do not allow it.
        InvalidInput: The request asks for a model that is not as it is in the directory.
    """
    if settings.model_control is False or (settings.model_control is None and context.role is None):
        raise Forbidden("Loading and unloading is switched off here (WHITEBOX_MODEL_CONTROL).")
    if context.role == "predict":
        raise Forbidden("Loading and unloading takes an administrator's key.")
    given = set() if body is None else set(body.parameters)
    if unknown := sorted(given - {"unload_dependents"}):
        raise invalid_at(
            ["parameters", unknown[0]], "models are loaded as they are in the directory, not from here"
        )


@router.post("/index")
async def v2_repository_index(
    models: Models,
    body: Annotated[
        RepositoryIndexRequest | None,
        Body(openapi_examples=body_examples(what_is_loaded={"ready": True})),
    ] = None,
) -> list[RepositoryIndexEntry]:
    """List every model package with its state: READY, or UNAVAILABLE and why."""
    only_ready = body is not None and body.ready
    found = [RepositoryIndexEntry(**each) for each in models.index()]
    return [entry for entry in found if entry.state == "READY" or not only_ready]


@router.post("/models/{name}/load", dependencies=[Depends(allow_model_control)])
async def v2_repository_load(models: Models, name: ModelName) -> RepositoryModelResponse:
    """Load all versions of a model from the directory, or load them again."""
    await models.load(name)
    return RepositoryModelResponse()


@router.post("/models/{name}/unload", dependencies=[Depends(allow_model_control)])
async def v2_repository_unload(models: Models, name: ModelName) -> RepositoryModelResponse:
    """Stop serving a model; requests in progress end on it."""
    await models.unload(name)
    return RepositoryModelResponse()
