"""What the routes for predict, explain and attack do in the same way."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from service.intake import Intake


class OwnBodyRoute(APIRoute):
    """A documented route whose endpoint reads the request itself.

    FastAPI would solve dependencies and parse a body first, which takes a quarter of a prediction's time
    here and finds nothing to do.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the endpoint as it is."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def with_preprocessed(answers: list[dict[str, Any]], intake: Intake) -> list[dict[str, Any]]:
    """Adds to the answers for PNG images which steps brought them into MNIST's form."""
    for answer, steps in zip(answers, intake.preprocessed, strict=True):
        if steps is not None:
            answer["preprocessed"] = steps
    return answers


def json_response(content: dict[str, Any]) -> Response:
    """Writes plain values and numpy arrays as JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
