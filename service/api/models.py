"""GET /v1/models and /v1/models/{name}."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from service.api.dependencies import get_state
from service.api.documentation import MODEL_NOT_FOUND
from service.api.schemas import ModelDetails, ModelList
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["models"])

Version = Annotated[str | None, Query(description="A loaded version; default: the newest.")]


@router.get("/v1/models", response_model=ModelList)
async def list_models(request: Request) -> dict[str, Any]:
    """List the loaded models, every version."""
    models = get_state(request).models
    return {"default": models.default, "models": [_summary(model) for model in models]}


@router.get("/v1/models/{name}", response_model=ModelDetails, responses=MODEL_NOT_FOUND)
async def get_model(request: Request, name: str, version: Version = None) -> dict[str, Any]:
    """Show a model's manifest: labels, digests, how it was trained, measured results."""
    models = get_state(request).models
    model = models.get(name, version)
    return {**_summary(model), "versions": models.versions(name), "manifest": dict(model.package.manifest)}


def _summary(model: ServedModel) -> dict[str, Any]:
    package = model.package
    return {
        "name": package.name,
        "version": package.version,
        "digest": package.digest,
        "labels": list(package.labels),
        "ready": True,
    }
