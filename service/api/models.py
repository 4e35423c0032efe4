"""GET /v1/models, /v1/models/{name} and its sheet."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from model.package import Label, ModelPackage
from model.sheet import read_sheet
from service.api.dependencies import ModelName, Models
from service.api.openapi import MODEL_PROBLEMS, problem_responses
from service.api.schemas.responses import Map, ModelDetails, ModelList, ModelRef, ModelSummary
from service.codecs.serialization import model_ref, sheet
from service.errors import InvalidInput
from service.http.responses import ArrayJSONResponse
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["models"])


class SheetShape(BaseModel):
    """A shape as it is before it is posed."""

    speaks_for: Label
    base: Map


class ModelSheet(BaseModel):
    """Response of GET /v1/models/{name}/sheet: the parameters, as the layers use them."""

    model: ModelRef
    two_step: Annotated[
        dict[str, list[float]],
        Field(description="Parameters of the two-step layer: thresholds, levels, scales."),
    ]
    kernels: Annotated[list[list[Map]], Field(description="Each kernel in each of its rotations, of norm 1.")]
    shapes: list[SheetShape]
    rows: Annotated[dict[str, list[float]], Field(description="For each class the weight of every shape.")]


Version = Annotated[str | None, Query(description="A loaded version; default: the newest.")]


@router.get("/v1/models", responses=problem_responses(InvalidInput))
async def list_models(models: Models) -> ModelList:
    """List the loaded models, every version."""
    return ModelList(default=models.default, models=[_summary(model) for model in models])


@router.get("/v1/models/{name}", responses=MODEL_PROBLEMS)
async def get_model(
    models: Models,
    name: ModelName,
    version: Version = None,
) -> ModelDetails:
    """Show a model's manifest: labels, digests, how it was trained, measured results."""
    model = models.get(name, version)
    return ModelDetails(
        **_summary(model).model_dump(),
        versions=models.versions(name),
        manifest=model.package.manifest.to_dict(),
    )


@router.get("/v1/models/{name}/sheet", response_model=ModelSheet, responses=MODEL_PROBLEMS)
def get_model_sheet(models: Models, name: ModelName, version: Version = None) -> Response:
    """Show what a model holds: kernels in their rotations, shapes, the weight of each for each class."""
    package = models.get(name, version).package
    content = sheet(package.labels, read_sheet(package))
    return ArrayJSONResponse({"model": model_ref(package), **content})


def _summary(model: ServedModel) -> ModelSummary:
    package = model.package
    return ModelSummary(
        name=package.name,
        version=package.version,
        digest=package.digest,
        labels=list(package.labels),
        about=_about(package),
    )


def _about(package: ModelPackage) -> str:
    told = f"Tells {', '.join(map(str, package.labels))} apart. All else gets one of these labels too"
    return f'{told}, with "typical": false where it is noticed.' if package.typicality else f"{told}."
