"""POST /v1/models/{name}:predict and :explain, as KServe's V1 protocol has them."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.dependencies import (
    AnswerBuffers,
    Context,
    CurrentSettings,
    CurrentThreads,
    Deadline,
    ModelName,
    Models,
)
from service.api.openapi import EXAMPLE_IMAGE, V1_ERRORS, body_examples
from service.api.schemas.responses import Explanation, Prediction
from service.budgets import MOST_IMAGES
from service.codecs.json_images import DecodedImages, InputImage, OpenedImages
from service.codecs.serialization import TRACE_PARTS, outputs_of, predictions
from service.http.disconnect import cancel_on_disconnect
from service.http.protection.threads import Threads
from service.http.responses import ArrayJSONResponse, written
from service.http.routing import JSON, AnyMediaTypeRoute
from service.inference.engine import Engine
from service.inference.explaining import explained
from service.settings import Settings

router = APIRouter(tags=["KServe V1"], route_class=AnyMediaTypeRoute, responses=V1_ERRORS)


class V1Request(BaseModel):
    """Body of KServe V1's :predict and :explain."""

    # Clients of that protocol send fields of their own, such as signature_name.
    model_config = ConfigDict(extra="ignore", strict=True)

    instances: Annotated[list[InputImage], Field(min_length=1, max_length=MOST_IMAGES)]


class V1PredictResponse(BaseModel):
    """Response of KServe V1's :predict."""

    predictions: list[Prediction]


class V1ExplainResponse(BaseModel):
    """Response of KServe V1's :explain."""

    explanations: list[Explanation]


_EXAMPLES = body_examples(one_image={"instances": [EXAMPLE_IMAGE]})
Instances = Annotated[V1Request, Body(openapi_examples=_EXAMPLES)]


@router.post("/v1/models/{name}:predict", response_model=V1PredictResponse)
async def v1_predict(
    name: ModelName,
    body: Instances,
    models: Models,
    settings: CurrentSettings,
    threads: CurrentThreads,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Say what each instance shows; instances are images as /v1/predict takes them."""
    model = models.get(name)
    decoded = await _decode(model.engine, body, settings.max_images, settings, threads, deadline)
    context.mark("parse")
    predicted = await model.batcher.predict(decoded.images, deadline)
    context.mark("infer")
    found = predictions(model.engine.labels, predicted, settings.typicality_level, decoded)
    return ArrayJSONResponse({"predictions": found})


@router.post("/v1/models/{name}:explain", response_model=V1ExplainResponse)
async def v1_explain(
    request: Request,
    name: ModelName,
    body: Instances,
    models: Models,
    settings: CurrentSettings,
    threads: CurrentThreads,
    answers: AnswerBuffers,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Say what each instance shows, and why: everything that /v1/explain tells."""
    engine = models.get(name).engine
    decoded = await _decode(engine, body, settings.max_explain_images, settings, threads, deadline)
    context.mark("parse")
    answers.reserve(context, engine.numbers(outputs_of(TRACE_PARTS), len(decoded.images)))
    pieces = explained(engine, decoded, settings.typicality_level, TRACE_PARTS)
    found = await cancel_on_disconnect(request, threads.run_in_turns("explain", deadline, pieces))
    context.mark("infer")
    content = await written(threads, deadline, found)
    context.mark("answer")
    return Response(content, media_type=JSON)


async def _decode(
    engine: Engine, body: V1Request, max_images: int, settings: Settings, threads: Threads, deadline: float
) -> DecodedImages:
    opened = await threads.run(
        "parse",
        deadline,
        lambda: OpenedImages(engine.preprocessing, body.instances, max_images, settings, "instances"),
    )
    return await threads.decode(opened, deadline)
