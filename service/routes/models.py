"""GET /v1/models and /v1/models/{name}."""

from typing import Any

from fastapi import APIRouter, Request

from service.engine import Engine
from service.routes.documented import MODEL_NOT_FOUND
from service.schemas import ModelDetails, ModelList
from service.state import service_of

router = APIRouter(tags=["models"])


@router.get("/v1/models", response_model=ModelList)
async def list_models(request: Request) -> dict[str, Any]:
    """List the loaded models."""
    service = service_of(request)
    models = [_summary(engine) for engine in service.engines.values()]
    return {"default": service.settings.default_model, "models": models}


@router.get("/v1/models/{name}", response_model=ModelDetails, responses=MODEL_NOT_FOUND)
async def get_model(request: Request, name: str) -> dict[str, Any]:
    """Show a model's manifest: labels, digests, how it was trained, measured results."""
    engine = service_of(request).engine(name)
    return {**_summary(engine), "manifest": dict(engine.package.manifest)}


def _summary(engine: Engine) -> dict[str, Any]:
    package = engine.package
    return {
        "name": package.name,
        "version": package.version,
        "digest": package.digest,
        "labels": list(package.labels),
    }
