"""What the routes about images do in the same way."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.api.dependencies import ServiceState
from service.api.schemas import LabelledImagesRequest
from service.codecs.json_images import DecodedImages, decode_images
from service.codecs.serialization import predictions
from service.errors import DeadlineExceeded, invalid_at
from service.inference.engine import Engine, Images

Result = TypeVar("Result")


class OwnBodyRoute(APIRoute):
    """A documented route whose endpoint reads the request itself.

    FastAPI would solve dependencies and parse_json a body first, which takes a quarter of a prediction's time
    here and finds nothing to do.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the endpoint as it is."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def with_preprocessed(answers: list[dict[str, Any]], decoded: DecodedImages) -> list[dict[str, Any]]:
    """Adds to the answers for PNG images which steps brought them into MNIST's form."""
    for answer, steps in zip(answers, decoded.preprocessed, strict=True):
        if steps is not None:
            answer["preprocessed"] = steps
    return answers


def json_response(content: dict[str, Any] | list[Any]) -> Response:
    """Writes plain values and numpy arrays as JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@dataclass(frozen=True)
class Labelled:
    """Images with their digits, and what the model says of them.

    Attributes:
        engine: The model that is asked.
        images: (N, 28, 28) float32 in [0, 1].
        labels: The true digits as given, or else as predicted.
        originals: The `Prediction` of each image.
    """

    engine: Engine
    images: Images
    labels: list[int]
    originals: list[dict[str, Any]]


def labelled(asked: LabelledImagesRequest, service: ServiceState, most: int) -> Labelled:
    """Reads the images of a parsed request, at most `most`, and puts them through its model.

    Raises:
        ModelNotFound: The model is not loaded.
        InvalidInput: An image cannot be read, or the labels do not fit.
    """
    engine = service.models.get(asked.model, asked.version).engine
    decoded = decode_images(asked.images, most, service.settings.max_png_pixels)
    originals = with_preprocessed(predictions(engine, decoded.images), decoded)
    return Labelled(engine, decoded.images, _labels_of(asked, engine, originals), originals)


def in_time(deadline: float) -> None:
    """Lets a request go on.

    Raises:
        DeadlineExceeded: Its time ran out.
    """
    if time.monotonic() > deadline:
        raise DeadlineExceeded("The request's time ran out before its turn came.")


def _labels_of(asked: LabelledImagesRequest, engine: Engine, originals: list[dict[str, Any]]) -> list[int]:
    if asked.labels is None:
        return [original["label"] for original in originals]
    if len(asked.labels) != len(originals):
        raise invalid_at(["labels"], f"{len(asked.labels)} labels for {len(originals)} images")
    for index, label in enumerate(asked.labels):
        if label not in engine.labels:
            raise invalid_at(["labels", index], f"the model tells {engine.labels} apart, not {label}")
    return asked.labels


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Runs `work` and cancels it when the client goes away.

    Raises:
        ClientDisconnect: It went away.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise ClientDisconnect
    finally:
        watch.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
