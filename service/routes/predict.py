"""POST /v1/predict."""

from fastapi import APIRouter, Request, Response

from service.answers import model_ref, predictions
from service.intake import Intake, image_of_png, images_of, is_png, off_the_loop, parse, read_body
from service.routes.answering import OwnBodyRoute, json_response, with_preprocessed
from service.routes.documented import EXAMPLE_PNG, PROBLEMS, json_body
from service.schemas import PredictAnswer, PredictRequest
from service.state import Service, service_of

router = APIRouter(tags=["predict"], route_class=OwnBodyRoute)


@router.post(
    "/v1/predict",
    responses={200: {"model": PredictAnswer}, **PROBLEMS},
    openapi_extra=json_body(PredictRequest, {"images": [{"png": EXAMPLE_PNG}]}, png=True),
)
async def predict(request: Request) -> Response:
    """Say which digit each image shows.

    A raw `image/png` body is one image; the model is then named by `?model=`.
    """
    service = service_of(request)
    png = is_png(request)
    body = await read_body(request, service.settings)
    if png:
        return await off_the_loop(body, lambda: _png(service, body, request))
    return await off_the_loop(body, lambda: _json(service, body))


def _json(service: Service, body: bytes) -> Response:
    asked = parse(PredictRequest, body)
    intake = images_of(asked, service.settings.max_images, service.settings)
    return _answer(service, asked.model, intake)


def _png(service: Service, body: bytes, request: Request) -> Response:
    return _answer(service, request.query_params.get("model"), image_of_png(body, service.settings))


def _answer(service: Service, model: str | None, intake: Intake) -> Response:
    engine = service.engine(model)
    answers = with_preprocessed(predictions(engine, intake.images), intake)
    return json_response({"model": model_ref(engine), "predictions": answers})
