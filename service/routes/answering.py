"""What the routes for predict, explain and attack write in the same way."""

from typing import Any

import orjson
from starlette.responses import Response

from service.intake import Intake


def with_preprocessed(answers: list[dict[str, Any]], intake: Intake) -> list[dict[str, Any]]:
    """Adds to the answers for PNG images which steps brought them into MNIST's form."""
    for answer, steps in zip(answers, intake.preprocessed, strict=True):
        if steps is not None:
            answer["preprocessed"] = steps
    return answers


def json_response(content: dict[str, Any]) -> Response:
    """Writes plain values and numpy arrays as JSON."""
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
