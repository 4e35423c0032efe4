"""GET /v1/models and /v1/models/{name}."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import ModelName, Models
from service.api.openapi import MODEL_PROBLEMS, problem_responses
from service.api.schemas import ModelDetails, ModelList, ModelSummary
from service.errors import InvalidInput
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["models"])


@router.get("/v1/models", responses=problem_responses(InvalidInput))
async def list_models(models: Models) -> ModelList:
    """List the loaded models, every version."""
    return ModelList(default=models.default, models=[_summary(model) for model in models])


@router.get("/v1/models/{name}", responses=MODEL_PROBLEMS)
async def get_model(
    models: Models,
    name: ModelName,
    version: Annotated[str | None, Query(description="A loaded version; default: the newest.")] = None,
) -> ModelDetails:
    """Show a model's manifest: labels, digests, how it was trained, measured results."""
    model = models.get(name, version)
    return ModelDetails(
        **_summary(model).model_dump(),
        versions=models.versions(name),
        manifest=model.package.manifest.to_dict(),
    )


def _summary(model: ServedModel) -> ModelSummary:
    package = model.package
    return ModelSummary(
        name=package.name, version=package.version, digest=package.digest, labels=list(package.labels)
    )
