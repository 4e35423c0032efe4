"""Responses written straight from arrays."""

from typing import Any

from starlette.responses import Response

from service.codecs.serialization import to_json


class ArrayJSONResponse(Response):
    """JSON from plain values and numpy arrays, which orjson writes without making a list of them first."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 (whatever JSON can hold)
        """Writes the body."""
        return to_json(content)
