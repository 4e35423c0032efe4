"""POST /v1/explain."""

import time

from fastapi import APIRouter, Request, Response

from service.api.answering import OwnBodyRoute, in_time, json_response, with_preprocessed
from service.api.documentation import EXAMPLE_PNG, PROBLEMS, TIMED_PROBLEMS, json_body
from service.api.schemas import ExplainAnswer, ExplainOptions, ExplainRequest
from service.api.state import Service, service_of
from service.codecs.serialization import explanations, model_ref
from service.http.body import (
    Intake,
    image_of_png,
    images_of,
    is_png,
    off_the_loop,
    parse,
    parse_values,
    read_body,
)
from service.http.context import call_of

router = APIRouter(tags=["explain"], route_class=OwnBodyRoute)


@router.post(
    "/v1/explain",
    responses={200: {"model": ExplainAnswer}, **PROBLEMS, **TIMED_PROBLEMS},
    openapi_extra=json_body(
        ExplainRequest,
        {"images": [{"png": EXAMPLE_PNG}], "include": ["shapes", "claims"]},
        png=True,
    ),
)
async def explain(request: Request) -> Response:
    """Say which digit each image shows, and why: the computation itself.

    Contributions of shapes and attributions of pixels, at each of two levels, sum to the logit. A raw
    `image/png` body is one image; `?model=`, `?version=`, `?include=` (repeated) and `?format=` then do what
    the JSON fields do.
    """
    service, call = service_of(request), call_of(request)
    deadline = time.monotonic() + call.seconds(service.settings.request_timeout_ms / 1000)
    png = is_png(request)
    body = await read_body(request, service.settings, deadline)
    call.mark("read")
    if png:
        options = _options_of_query(request)
        response = await off_the_loop(body, lambda: _png(service, body, options, deadline))
    else:
        response = await off_the_loop(body, lambda: _json(service, body, deadline))
    call.mark("infer")
    return response


def _options_of_query(request: Request) -> ExplainOptions:
    query = request.query_params
    given = {name: query[name] for name in ("model", "version", "format") if name in query}
    include = query.getlist("include")
    return parse_values(ExplainOptions, {**given, **({"include": include} if include else {})})


def _json(service: Service, body: bytes, deadline: float) -> Response:
    asked = parse(ExplainRequest, body)
    intake = images_of(asked.images, service.settings.max_explain_images, service.settings)
    return _answer(service, asked, intake, deadline)


def _png(service: Service, body: bytes, options: ExplainOptions, deadline: float) -> Response:
    return _answer(service, options, image_of_png(body, service.settings), deadline)


def _answer(service: Service, options: ExplainOptions, intake: Intake, deadline: float) -> Response:
    engine = service.models.get(options.model, options.version).engine
    in_time(deadline)
    answers = explanations(engine, intake.images, options.include, options.format == "png")
    return json_response({"model": model_ref(engine), "explanations": with_preprocessed(answers, intake)})
