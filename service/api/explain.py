"""POST /v1/explain."""

import time

from fastapi import APIRouter, Request, Response

from service.api.answering import OwnBodyRoute, in_time, json_response, with_preprocessed
from service.api.dependencies import ServiceState, get_state
from service.api.documentation import EXAMPLE_PNG, PROBLEMS, TIMED_PROBLEMS, json_body
from service.api.schemas import ExplainAnswer, ExplainOptions, ExplainRequest
from service.codecs.json_images import DecodedImages, decode_file, decode_images
from service.codecs.serialization import explanations, model_ref
from service.http.body import is_png, off_the_loop, parse_json, parse_values
from service.http.context import get_context

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
    service, context = get_state(request), get_context(request)
    deadline = time.monotonic() + context.timeout(service.settings.request_timeout_ms / 1000)
    png = is_png(request.headers.get("content-type", ""))
    body = await request.body()
    context.mark("read")
    if png:
        options = _options_of_query(request)
        response = await off_the_loop(body, lambda: _png(service, body, options, deadline))
    else:
        response = await off_the_loop(body, lambda: _json(service, body, deadline))
    context.mark("infer")
    return response


def _options_of_query(request: Request) -> ExplainOptions:
    query = request.query_params
    given = {name: query[name] for name in ("model", "version", "format") if name in query}
    include = query.getlist("include")
    return parse_values(ExplainOptions, {**given, **({"include": include} if include else {})})


def _json(service: ServiceState, body: bytes, deadline: float) -> Response:
    asked = parse_json(ExplainRequest, body)
    decoded = decode_images(
        asked.images, service.settings.max_explain_images, service.settings.max_png_pixels
    )
    return _answer(service, asked, decoded, deadline)


def _png(service: ServiceState, body: bytes, options: ExplainOptions, deadline: float) -> Response:
    return _answer(service, options, decode_file(body, service.settings.max_png_pixels), deadline)


def _answer(
    service: ServiceState, options: ExplainOptions, decoded: DecodedImages, deadline: float
) -> Response:
    engine = service.models.get(options.model, options.version).engine
    in_time(deadline)
    answers = explanations(engine, decoded.images, options.include, options.format == "png")
    return json_response({"model": model_ref(engine), "explanations": with_preprocessed(answers, decoded)})
