"""POST /v1/predict: the one handler that answers predictions, and its route in the documentation."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from starlette.types import Scope

from service.api.dependencies import Context, ServiceState, State, typicality_level
from service.api.openapi import EXAMPLE_IMAGE, INFERENCE_PROBLEMS, RAW_IMAGE_BODY, body_examples
from service.api.schemas import (
    PredictBody,
    PredictOptions,
    PredictQuery,
    PredictRequest,
    PredictResponse,
    with_query,
)
from service.codecs.json_images import (
    DecodedImages,
    check_size,
    decode_file,
    decode_images,
    parse_number_lists,
)
from service.codecs.serialization import model_ref, predictions, to_json
from service.http.body import is_image_file, off_the_loop, parse_json, parse_query
from service.http.context import RequestContext
from service.http.routing import JSONRoute, require_json_or_image
from service.http.unknown import refuse_unknown_query
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["predict"], route_class=JSONRoute)

_EXAMPLES = body_examples(one_png={"images": [EXAMPLE_IMAGE]})
_JSON = b"application/json"
_QUERY = frozenset(PredictQuery.model_fields)


class _Asked(NamedTuple):
    model: ServedModel
    decoded: DecodedImages
    level: float
    show_images: bool = False


class PredictHandler:
    """Answers predictions of lists of numbers, of files and of named models.

    The outermost layer calls it (`service.http.middleware`); so does the route below.
    """

    def __init__(self, state: ServiceState) -> None:
        self._state, self._settings = state, state.settings
        self._seconds = state.settings.request_timeout_ms / 1000

    async def __call__(self, scope: Scope, body: bytes, context: RequestContext) -> bytes:
        """Returns the answer as JSON.

        Args:
            scope: Of the request; its query names the model of a file.
            body: All of it.
            context: Of the request.

        Raises:
            Problem: Whatever keeps it from being answered.
        """
        if scope["query_string"]:
            refuse_unknown_query(scope["query_string"], _QUERY)
        deadline = context.deadline(self._seconds)
        asked = await self._read(scope, body, context)
        model = asked.model
        context.mark("parse")
        predicted = await model.batcher.predict(asked.decoded.images, deadline)
        context.mark("infer")
        found = predictions(model.engine.labels, predicted, asked.level, asked.decoded, asked.show_images)
        answer = to_json({"model": model_ref(model.package), "predictions": found})
        context.mark("answer")
        return answer

    async def _read(self, scope: Scope, body: bytes, context: RequestContext) -> _Asked:
        if context.content_type == _JSON and not scope["query_string"]:
            lists = parse_number_lists(body, self._settings.max_images)
            if lists is not None:
                decoded = DecodedImages(lists.images, [None] * len(lists.images))
                model = self._state.models.get(lists.model, lists.version)
                check_size(lists.images, model.engine.preprocessing)
                return _Asked(model, decoded, self._settings.typicality_level)
        query = parse_query(PredictQuery, scope["query_string"])
        if is_image_file(context.content_type.decode("latin-1")):
            return await off_the_loop(body, lambda: self._read_file(body, query))
        return await off_the_loop(body, lambda: self._read_json(body, query))

    def _read_json(self, body: bytes, query: PredictQuery) -> _Asked:
        asked = with_query(parse_json(PredictRequest, body), query)
        most, most_pixels = self._settings.max_images, self._settings.max_png_pixels
        model = self._state.models.get(asked.model, asked.version)
        decoded = decode_images(
            model.engine.preprocessing,
            asked.images,
            most,
            most_pixels,
            preprocess=asked.preprocess,
            split=asked.split,
        )
        return self._asked(model, asked, decoded)

    def _read_file(self, body: bytes, query: PredictQuery) -> _Asked:
        model = self._state.models.get(query.model, query.version)
        most_pixels = self._settings.max_png_pixels
        decoded = decode_file(model.engine.preprocessing, body, most_pixels, split=query.split)
        return self._asked(model, query, decoded)

    def _asked(self, model: ServedModel, options: PredictOptions, decoded: DecodedImages) -> _Asked:
        level = typicality_level(options, self._settings)
        return _Asked(model, decoded, level, show_images=options.debug == "preprocessing")


@router.post(
    "/v1/predict",
    response_model=PredictResponse,
    responses=INFERENCE_PROBLEMS,
    openapi_extra=RAW_IMAGE_BODY,
    dependencies=[Depends(require_json_or_image)],
)
async def predict(
    request: Request,
    state: State,
    context: Context,
    _body: Annotated[PredictBody, Body(openapi_examples=_EXAMPLES)],
    _query: Annotated[PredictQuery, Query()],
) -> Response:
    """Say what each image shows.

    A body of `image/png`, `image/jpeg` or `image/webp` is one image. Query parameters do
    what the JSON fields of their names do.
    """
    content = await PredictHandler(state)(request.scope, await request.body(), context)
    return Response(content, media_type="application/json")
