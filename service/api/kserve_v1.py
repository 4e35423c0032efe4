"""POST /v1/models/{name}:predict and :explain, as KServe's V1 protocol has them."""

import time

from fastapi import APIRouter, Request, Response

from service.api.answering import OwnBodyRoute, in_time, json_response, with_preprocessed
from service.api.documentation import EXAMPLE_PNG, MODEL_NAME, V1_ERRORS, json_body
from service.api.schemas import PARTS, ExplanationList, InstancesRequest, PredictionList
from service.api.state import Service, service_of
from service.codecs.serialization import explanations, labelled
from service.http.body import Intake, images_of, off_the_loop, parse, read_body
from service.http.context import call_of
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
    model, intake = await off_the_loop(
        body, lambda: _read(service, request, body, service.settings.max_images)
    )
    found = await model.batcher.predict(intake.images, deadline)
    answers = with_preprocessed(labelled(model.engine, *found), intake)
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
        model, intake = _read(service, request, body, service.settings.max_explain_images)
        in_time(deadline)
        answers = explanations(model.engine, intake.images, PARTS, pictures=False)
        return json_response({"explanations": with_preprocessed(answers, intake)})

    return await off_the_loop(body, work)


async def _begin(request: Request) -> tuple[Service, float, bytes]:
    service = service_of(request)
    deadline = time.monotonic() + call_of(request).seconds(service.settings.request_timeout_ms / 1000)
    return service, deadline, await read_body(request, service.settings, deadline)


def _read(service: Service, request: Request, body: bytes, most: int) -> tuple[ServedModel, Intake]:
    asked = parse(InstancesRequest, body)
    intake = images_of(asked.instances, most, service.settings, "instances")
    return service.models.get(request.path_params["name"]), intake
