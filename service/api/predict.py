"""POST /v1/predict."""

import time

from fastapi import APIRouter, Request, Response

from service.api.answering import OwnBodyRoute, json_response, with_preprocessed
from service.api.documentation import EXAMPLE_PNG, PROBLEMS, TIMED_PROBLEMS, json_body
from service.api.schemas import PredictAnswer, PredictRequest
from service.api.state import Service, service_of
from service.codecs.json_images import images_alone
from service.codecs.serialization import labelled, model_ref
from service.http.body import Intake, image_of_png, images_of, is_png, off_the_loop, parse, read_body
from service.http.context import call_of
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["predict"], route_class=OwnBodyRoute)


@router.post(
    "/v1/predict",
    responses={200: {"model": PredictAnswer}, **PROBLEMS, **TIMED_PROBLEMS},
    openapi_extra=json_body(PredictRequest, {"images": [{"png": EXAMPLE_PNG}]}, png=True),
)
async def predict(request: Request) -> Response:
    """Say which digit each image shows.

    A raw `image/png` body is one image; the model is then named by `?model=` and `?version=`.
    """
    service, call = service_of(request), call_of(request)
    deadline = time.monotonic() + call.seconds(service.settings.request_timeout_ms / 1000)
    png = is_png(request)
    body = await read_body(request, service.settings, deadline)
    call.mark("read")
    read = (lambda: _png(service, body, request)) if png else (lambda: _json(service, body))
    model, intake = await off_the_loop(body, read)
    call.mark("parse")
    found = await model.batcher.predict(intake.images, deadline)
    call.mark("infer")
    predictions = with_preprocessed(labelled(model.engine, *found), intake)
    response = json_response({"model": model_ref(model.engine), "predictions": predictions})
    call.mark("answer")
    return response


def _json(service: Service, body: bytes) -> tuple[ServedModel, Intake]:
    if (images := images_alone(body, service.settings.max_images)) is not None:
        return service.models.get(), Intake(images, [None] * len(images))
    asked = parse(PredictRequest, body)
    intake = images_of(asked.images, service.settings.max_images, service.settings)
    return service.models.get(asked.model, asked.version), intake


def _png(service: Service, body: bytes, request: Request) -> tuple[ServedModel, Intake]:
    intake = image_of_png(body, service.settings)
    query = request.query_params
    return service.models.get(query.get("model"), query.get("version")), intake
