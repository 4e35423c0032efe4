"""POST /v1/explain."""

from fastapi import APIRouter, Request, Response

from service.answers import explanations, model_ref
from service.intake import (
    Intake,
    image_of_png,
    images_of,
    is_png,
    off_the_loop,
    parse,
    parse_values,
    read_body,
)
from service.routes.answering import OwnBodyRoute, json_response, with_preprocessed
from service.routes.documented import EXAMPLE_PNG, PROBLEMS, json_body
from service.schemas import ExplainAnswer, ExplainOptions, ExplainRequest
from service.state import Service, service_of

router = APIRouter(tags=["explain"], route_class=OwnBodyRoute)


@router.post(
    "/v1/explain",
    responses={200: {"model": ExplainAnswer}, **PROBLEMS},
    openapi_extra=json_body(
        ExplainRequest,
        {"images": [{"png": EXAMPLE_PNG}], "include": ["shapes", "claims"]},
        png=True,
    ),
)
async def explain(request: Request) -> Response:
    """Say which digit each image shows, and why: the computation itself.

    Contributions of shapes and attributions of pixels, at each of two levels, sum to the logit. A raw
    `image/png` body is one image; `?model=`, `?include=` (repeated) and `?format=` then do what the JSON
    fields do.
    """
    service = service_of(request)
    png = is_png(request)
    body = await read_body(request, service.settings)
    if png:
        options = _options_of_query(request)
        return await off_the_loop(body, lambda: _png(service, body, options))
    return await off_the_loop(body, lambda: _json(service, body))


def _options_of_query(request: Request) -> ExplainOptions:
    query = request.query_params
    given = {name: query[name] for name in ("model", "format") if name in query}
    include = query.getlist("include")
    return parse_values(ExplainOptions, {**given, **({"include": include} if include else {})})


def _json(service: Service, body: bytes) -> Response:
    asked = parse(ExplainRequest, body)
    intake = images_of(asked, service.settings.max_explain_images, service.settings)
    return _answer(service, asked, intake)


def _png(service: Service, body: bytes, options: ExplainOptions) -> Response:
    return _answer(service, options, image_of_png(body, service.settings))


def _answer(service: Service, options: ExplainOptions, intake: Intake) -> Response:
    engine = service.engine(options.model)
    answers = explanations(engine, intake.images, options.include, options.format == "png")
    return json_response({"model": model_ref(engine), "explanations": with_preprocessed(answers, intake)})
