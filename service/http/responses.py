"""Responses written straight from arrays."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

from orjson import Fragment
from starlette.responses import Response

from service.codecs.serialization import JSONObject, to_json
from service.http.protection.threads import Threads


class ArrayJSONResponse(Response):
    """JSON from plain values and numpy arrays, which orjson writes without making a list of them first."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 (whatever JSON can hold)
        """Writes the body."""
        return to_json(content)


async def written(
    threads: Threads, deadline: float, found: Iterable[Sequence[JSONObject]], **answer: object
) -> bytes:
    """Returns an answer whose `explanations` are those found in pieces, as JSON; each takes its turn."""
    pieces = [partial(to_json, explanation) for explanation in chain.from_iterable(found)]
    fragments = list(map(Fragment, await threads.run_in_turns("write", deadline, pieces)))
    whole = answer | {"explanations": fragments}
    return await threads.run("write", deadline, lambda: to_json(whole))
