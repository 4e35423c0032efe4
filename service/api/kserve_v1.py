"""POST /v1/models/{name}:predict and :explain, as KServe's V1 protocol has them."""

import time

from fastapi import APIRouter, Request, Response

from service.api.answering import OwnBodyRoute, in_time, json_response, with_preprocessed
from service.api.dependencies import ServiceState, get_state
from service.api.documentation import EXAMPLE_PNG, MODEL_NAME, V1_ERRORS, json_body
from service.api.schemas import PARTS, ExplanationList, InstancesRequest, PredictionList
from service.codecs.json_images import DecodedImages, decode_images
from service.codecs.serialization import explanations, labelled
from service.http.body import off_the_loop, parse_json
from service.http.context import get_context
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["KServe V1"], route_class=OwnBodyRoute)

_BODY = json_body(InstancesRequest, {"instances": [{"png": EXAMPLE_PNG}]})


@router.post(
    "/v1/models/{name}:predict",
    responses={200: {"model": PredictionList}, **V1_ERRORS},
    openapi_extra={**_BODY, "parameters": [MODEL_NAME]},
)
async def predict(request: Request) -> Response:
    """Say which digit each instance shows; instances are images as /v1/predict takes them."""
    service, deadline, body = await _begin(request)
    model, decoded = await off_the_loop(
        body, lambda: _read(service, request, body, service.settings.max_images)
    )
    found = await model.batcher.predict(decoded.images, deadline)
    answers = with_preprocessed(labelled(model.engine, *found), decoded)
    return json_response({"predictions": answers})


@router.post(
    "/v1/models/{name}:explain",
    responses={200: {"model": ExplanationList}, **V1_ERRORS},
    openapi_extra={**_BODY, "parameters": [MODEL_NAME]},
)
async def explain(request: Request) -> Response:
    """Say which digit each instance shows, and why: everything that /v1/explain tells."""
    service, deadline, body = await _begin(request)

    def work() -> Response:
        model, decoded = _read(service, request, body, service.settings.max_explain_images)
        in_time(deadline)
        answers = explanations(model.engine, decoded.images, PARTS, pictures=False)
        return json_response({"explanations": with_preprocessed(answers, decoded)})

    return await off_the_loop(body, work)


async def _begin(request: Request) -> tuple[ServiceState, float, bytes]:
    service = get_state(request)
    deadline = time.monotonic() + get_context(request).timeout(service.settings.request_timeout_ms / 1000)
    return service, deadline, await request.body()


def _read(
    service: ServiceState, request: Request, body: bytes, most: int
) -> tuple[ServedModel, DecodedImages]:
    asked = parse_json(InstancesRequest, body)
    decoded = decode_images(asked.instances, most, service.settings.max_png_pixels, "instances")
    return service.models.get(request.path_params["name"]), decoded
