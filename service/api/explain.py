"""POST /v1/explain."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from service.api.dependencies import (
    Context,
    CurrentSettings,
    Deadline,
    Models,
    check_deadline,
    typicality_level,
)
from service.api.openapi import EXAMPLE_IMAGE, INFERENCE_PROBLEMS, RAW_IMAGE_BODY, body_examples
from service.api.schemas import ExplainBody, ExplainQuery, ExplainResponse, with_query
from service.codecs.json_images import DecodedImages, decode_file, decode_images
from service.codecs.preprocessing import Preprocessing
from service.codecs.serialization import explanations, model_ref, outputs_of
from service.http.responses import ArrayJSONResponse
from service.http.routing import JSONRoute, require_json_or_image
from service.settings import Settings

router = APIRouter(tags=["explain"], route_class=JSONRoute)

_EXAMPLES = body_examples(
    shapes_and_claims={"images": [EXAMPLE_IMAGE], "include": ["shapes", "claims"]},
    maps_as_pictures={"images": [EXAMPLE_IMAGE], "include": ["attribution"], "format": "png"},
)


@router.post(
    "/v1/explain",
    response_model=ExplainResponse,
    responses=INFERENCE_PROBLEMS,
    openapi_extra=RAW_IMAGE_BODY,
    dependencies=[Depends(require_json_or_image)],
)
def explain(
    body: Annotated[ExplainBody, Body(openapi_examples=_EXAMPLES)],
    query: Annotated[ExplainQuery, Query()],
    models: Models,
    settings: CurrentSettings,
    deadline: Deadline,
    context: Context,
) -> Response:
    """Say what each image shows, and why: the computation itself.

    Contributions of shapes and attributions of pixels, at each of two levels, sum to the logit. A
    body of `image/png`, `image/jpeg` or `image/webp` is one image. Query parameters do what the JSON
    fields of their names do.
    """
    context.mark("parse")
    options = query if isinstance(body, bytes) else with_query(body, query)
    model = models.get(options.model, options.version)
    decoded = _decode(body, model.engine.preprocessing, options.split, settings)
    check_deadline(deadline)
    trace = model.engine.explain(decoded.images, outputs_of(options.include))
    predicted = model.engine.predict(decoded.images)
    level = typicality_level(options, settings)
    found = explanations(
        model.engine.labels, trace, predicted, level, decoded, options.include, options.format == "png"
    )
    response = ArrayJSONResponse({"model": model_ref(model.package), "explanations": found})
    context.mark("infer")
    return response


def _decode(body: ExplainBody, form: Preprocessing, split: bool, settings: Settings) -> DecodedImages:
    if isinstance(body, bytes):
        return decode_file(form, body, settings.max_png_pixels, split=split)
    most, most_pixels = settings.max_explain_images, settings.max_png_pixels
    return decode_images(form, body.images, most, most_pixels, preprocess=body.preprocess, split=split)
