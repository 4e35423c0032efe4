"""POST /v1/predict: the one handler that answers predictions, and its route in the documentation."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from starlette.types import Scope

from service.api.dependencies import Context, ServiceState, State, typicality_level
from service.api.openapi import EXAMPLE_IMAGE, INFERENCE_PROBLEMS, RAW_IMAGE_BODY, body_examples
from service.api.schemas.requests import (
    PredictBody,
    PredictOptions,
    PredictQuery,
    PredictRequest,
    with_query,
)
from service.api.schemas.responses import PredictResponse
from service.budgets import SMALL_BODY
from service.codecs.json_images import DecodedImages, OpenedImages, check_size
from service.codecs.number_lists import NumberLists, parse_number_lists
from service.codecs.serialization import model_ref, predictions, to_json
from service.http.body import is_image_file, parse_query
from service.http.context import RequestContext
from service.http.json_body import parse_json
from service.http.routing import JSONRoute, require_json_or_image
from service.http.unknown import refuse_unknown_query
from service.inference.batcher import Numbers
from service.inference.model_repository import ServedModel

router = APIRouter(tags=["predict"], route_class=JSONRoute)

_EXAMPLES = body_examples(one_png={"images": [EXAMPLE_IMAGE]})
_JSON = b"application/json"
_QUERY = frozenset(PredictQuery.model_fields)


class _Asked(NamedTuple):
    """What is asked; `decoded` tells of files how they became images."""

    model: ServedModel
    images: Numbers
    level: float
    decoded: DecodedImages | None = None
    show_images: bool = False


class _Opened(NamedTuple):
    """What is asked, its images not unpacked yet."""

    model: ServedModel
    images: OpenedImages
    options: PredictOptions


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
        asked = await self._read(scope, body, context, deadline)
        model = asked.model
        context.mark("parse")
        predicted = await model.batcher.predict(asked.images, deadline)
        context.mark("infer")
        found = predictions(model.engine.labels, predicted, asked.level, asked.decoded, asked.show_images)
        answer = to_json({"model": model_ref(model.package), "predictions": found})
        context.mark("answer")
        return answer

    async def _read(self, scope: Scope, body: bytes, context: RequestContext, deadline: float) -> _Asked:
        if context.content_type == _JSON and not scope["query_string"] and len(body) <= SMALL_BODY:
            lists = parse_number_lists(body, self._settings.max_images)
            if lists is not None:
                return self._of_lists(lists)
        query = parse_query(PredictQuery, scope["query_string"])
        is_file = is_image_file(context.content_type.decode("latin-1"))
        read = self._open_file if is_file else self._read_json
        threads = self._state.threads
        asked = await threads.run_or_here(
            len(body) <= SMALL_BODY, "parse", deadline, lambda: read(body, query)
        )
        if isinstance(asked, _Opened):
            decoded = await threads.decode(asked.images, deadline)
            level = typicality_level(asked.options, self._settings)
            show = asked.options.debug == "preprocessing"
            return _Asked(asked.model, decoded.images, level, decoded, show)
        return asked

    def _of_lists(self, lists: NumberLists) -> _Asked:
        model = self._state.models.get(lists.model, lists.version)
        check_size(lists.images, model.engine.preprocessing)
        return _Asked(model, lists.images, self._settings.typicality_level)

    def _read_json(self, body: bytes, query: PredictQuery) -> _Asked | _Opened:
        settings = self._settings
        if len(body) > SMALL_BODY and not query.model_fields_set:
            lists = parse_number_lists(body, settings.max_images)
            if lists is not None:
                return self._of_lists(lists)
        asked = with_query(parse_json(PredictRequest, body, settings), query)
        model = self._state.models.get(asked.model, asked.version)
        images = OpenedImages(
            model.engine.preprocessing,
            asked.images,
            settings.max_images,
            settings,
            preprocess=asked.preprocess,
            split=asked.split,
        )
        return _Opened(model, images, asked)

    def _open_file(self, body: bytes, query: PredictQuery) -> _Opened:
        model = self._state.models.get(query.model, query.version)
        form, most = model.engine.preprocessing, self._settings.max_images
        images = OpenedImages(form, [body], most, self._settings, field="", split=query.split)
        return _Opened(model, images, query)


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
