"""POST /v1/models/{name}:predict and :explain, as KServe's V1 protocol has them."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.dependencies import Context, CurrentSettings, Deadline, ModelName, Models, check_deadline
from service.api.openapi import EXAMPLE_IMAGE, V1_ERRORS, body_examples
from service.api.schemas import Explanation, Prediction
from service.codecs.json_images import InputImage, decode_images
from service.codecs.serialization import TRACE_PARTS, explanations, outputs_of, predictions
from service.http.body import off_the_loop
from service.http.responses import ArrayJSONResponse
from service.http.routing import AnyMediaTypeRoute

router = APIRouter(tags=["KServe V1"], route_class=AnyMediaTypeRoute, responses=V1_ERRORS)


class V1Request(BaseModel):
    """Body of KServe V1's :predict and :explain."""

    # Clients of that protocol send fields of their own, such as signature_name.
    model_config = ConfigDict(extra="ignore", strict=True)

    instances: Annotated[list[InputImage], Field(min_length=1)]


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
    request: Request,
    name: ModelName,
    body: Instances,
    models: Models,
    settings: CurrentSettings,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Say what each instance shows; instances are images as /v1/predict takes them."""
    model = models.get(name)
    decoded = await off_the_loop(
        await request.body(),
        lambda: decode_images(
            model.engine.preprocessing,
            body.instances,
            settings.max_images,
            settings.max_png_pixels,
            "instances",
        ),
    )
    context.mark("parse")
    predicted = await model.batcher.predict(decoded.images, deadline)
    context.mark("infer")
    found = predictions(model.engine.labels, predicted, settings.typicality_level, decoded)
    return ArrayJSONResponse({"predictions": found})


@router.post("/v1/models/{name}:explain", response_model=V1ExplainResponse)
def v1_explain(
    name: ModelName,
    body: Instances,
    models: Models,
    settings: CurrentSettings,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Say what each instance shows, and why: everything that /v1/explain tells."""
    engine = models.get(name).engine
    most, most_pixels = settings.max_explain_images, settings.max_png_pixels
    decoded = decode_images(engine.preprocessing, body.instances, most, most_pixels, "instances")
    context.mark("parse")
    check_deadline(deadline)
    trace = engine.explain(decoded.images, outputs_of(TRACE_PARTS))
    predicted, level = engine.predict(decoded.images), settings.typicality_level
    found = explanations(engine.labels, trace, predicted, level, decoded, TRACE_PARTS)
    response = ArrayJSONResponse({"explanations": found})
    context.mark("infer")
    return response
