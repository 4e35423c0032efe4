"""POST /v1/explain."""

import time
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from service.api.dependencies import (
    AnswerBuffers,
    Context,
    CurrentSettings,
    CurrentThreads,
    Deadline,
    Models,
    typicality_level,
)
from service.api.openapi import EXAMPLE_IMAGE, INFERENCE_PROBLEMS, RAW_IMAGE_BODY, Responses, body_examples
from service.api.schemas.requests import ExplainBody, ExplainOptions, ExplainQuery, with_query
from service.api.schemas.responses import ExplainResponse
from service.codecs.figure_png import figure_png_elsewhere
from service.codecs.json_images import DecodedImages, OpenedImages
from service.codecs.preprocessing import Preprocessing
from service.codecs.serialization import model_ref, outputs_of
from service.errors import invalid_at
from service.http.disconnect import cancel_on_disconnect
from service.http.responses import written
from service.http.routing import JSON, JSONRoute, require_json_or_image
from service.inference.engine import Engine
from service.inference.explaining import FIGURE_OUTPUTS, explained, figure_of
from service.settings import Settings

SVG, PNG = "image/svg+xml", "image/png"

router = APIRouter(tags=["explain"], route_class=JSONRoute)

_EXAMPLES = body_examples(
    shapes_and_claims={"images": [EXAMPLE_IMAGE], "include": ["shapes", "claims"]},
    maps_as_pictures={"images": [EXAMPLE_IMAGE], "include": ["attribution"], "format": "png"},
)
_FIGURES: Responses = {
    200: {
        "content": {
            SVG: {"schema": {"type": "string"}},
            PNG: {"schema": {"type": "string", "format": "binary"}},
        }
    }
}


@router.post(
    "/v1/explain",
    response_model=ExplainResponse,
    responses=INFERENCE_PROBLEMS | _FIGURES,
    openapi_extra=RAW_IMAGE_BODY,
    dependencies=[Depends(require_json_or_image)],
)
async def explain(
    request: Request,
    body: Annotated[ExplainBody, Body(openapi_examples=_EXAMPLES)],
    query: Annotated[ExplainQuery, Query()],
    models: Models,
    settings: CurrentSettings,
    threads: CurrentThreads,
    answers: AnswerBuffers,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Say what each image shows, and why: the computation itself.

    Contributions of shapes and attributions of pixels, at each of two levels, sum to the logit. A
    body of `image/png`, `image/jpeg` or `image/webp` is one image. Query parameters do what the JSON
    fields of their names do.
    """
    options = query if isinstance(body, bytes) else with_query(body, query)
    model = models.get(options.model, options.version)
    form = model.engine.preprocessing
    opened = await threads.run("parse", deadline, lambda: _open(body, form, options.split, settings))
    decoded = await threads.decode(opened, deadline)
    context.mark("parse")
    picture = _picture(options, request.headers.get("accept", ""))
    parts = outputs_of(options.include) if picture is None else FIGURE_OUTPUTS
    answers.reserve(context, model.engine.numbers(parts, len(decoded.images)))
    if picture is not None:
        work = threads.run("explain", deadline, lambda: _figure(model.engine, decoded, picture, deadline))
        drawn = await cancel_on_disconnect(request, work)
        context.mark("infer")
        return Response(drawn, media_type=picture)
    level = typicality_level(options, settings)
    pieces = explained(model.engine, decoded, level, options.include, options.format == "png")
    found = await cancel_on_disconnect(request, threads.run_in_turns("explain", deadline, pieces))
    context.mark("infer")
    content = await written(threads, deadline, found, model=model_ref(model.package))
    context.mark("answer")
    return Response(content, media_type=JSON)


def _picture(options: ExplainOptions, accept: str) -> str | None:
    """Returns the media type of the picture that is asked for, by `format` or by what the client takes."""
    taken = [each.partition(";")[0].strip() for each in accept.lower().split(",")]
    first = next((each for each in taken if each in (SVG, PNG, JSON)), None)
    if first in (SVG, PNG):
        return first
    return SVG if options.format == "figure" else None


def _figure(engine: Engine, decoded: DecodedImages, media_type: str, deadline: float) -> str | bytes:
    if (count := len(decoded.images)) != 1:
        raise invalid_at(
            ["images"], f"a figure explains one image, here are {count}; send one, or ask for json"
        )
    svg = figure_of(engine, decoded.images)
    if media_type == SVG:
        return svg
    return figure_png_elsewhere(svg, max(0.1, deadline - time.monotonic()))


def _open(body: ExplainBody, form: Preprocessing, split: bool, settings: Settings) -> OpenedImages:
    if isinstance(body, bytes):
        return OpenedImages(form, [body], settings.max_explain_images, settings, field="", split=split)
    most = settings.max_explain_images
    return OpenedImages(form, body.images, most, settings, preprocess=body.preprocess, split=split)
