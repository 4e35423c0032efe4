"""Request bodies: read whole, within a size and a deadline, before anything looks at them."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.codecs.preprocessing import MEDIA_TYPES
from service.errors import BodyTooLarge, BodyTooSlow, UnsupportedMediaType, invalid_input
from service.http.unknown import name_nearest_fields

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")

# Beyond this much of a refused body the client is cut off instead of read to its end.
_MAX_DRAINED = 128 * 2**20
# Bodies up to this size are parsed on the event loop: cheaper than the hand-over to a thread.
SMALL_BODY = 64 * 2**10


async def read_body(receive: Receive, max_bytes: int, deadline: float) -> bytes:
    """Returns the whole body.

    A body that is too large is read to its end and dropped before it is refused, so that the client sees
    the answer and not a reset connection.

    Args:
        receive: Of a request whose body nobody has read.
        max_bytes: Larger bodies are refused.
        deadline: A `time.monotonic()` value; a client that has not sent it all by then is given up.

    Raises:
        BodyTooLarge: It has more than `max_bytes`.
        BodyTooSlow: It is not all there in time.
        ClientDisconnect: The client is gone.
    """
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            message = await _receive_part(receive)
            body: bytes = message.get("body", b"")
            if message.get("more_body"):
                body = await _read_on(body, receive, max_bytes)
    except TimeoutError:
        raise BodyTooSlow("The body was not all there before the request's time ran out.") from None
    if len(body) > max_bytes:
        raise BodyTooLarge(
            f"The body has more than {max_bytes} bytes. Send fewer images a request, or PNG instead of lists "
            f"of numbers."
        )
    return body


async def _read_on(first: bytes, receive: Receive, max_bytes: int) -> bytes:
    """Returns the body, or of one that is too large more than `max_bytes` of it."""
    parts, size, more = [first], len(first), True
    while more and size <= _MAX_DRAINED:
        message = await _receive_part(receive)
        part = message.get("body", b"")
        if size <= max_bytes:
            parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _receive_part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that hands out a body that has been read, and then what else comes."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def off_the_loop(body: bytes, work: Callable[[], Result]) -> Result:
    """Runs `work` here for a small body, in a thread for a large one."""
    return work() if len(body) <= SMALL_BODY else await asyncio.to_thread(work)


def parse_json(schema: type[Body], body: bytes) -> Body:
    """Reads a JSON body by its schema.

    Raises:
        InvalidInput: It is not JSON, or not what the schema says; every place is named.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        body_schema = schema.model_json_schema()
        errors = name_nearest_fields(error.errors(), body_schema, body_schema.get("$defs", {}))
        raise invalid_input(errors) from None


def parse_query(schema: type[Body], query: bytes) -> Body:
    """Reads a query string by its schema; unknown names are refused before.

    Raises:
        InvalidInput: A value is not what the schema says.
    """
    try:
        return schema.model_validate(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        raise invalid_input(error.errors()) from None


def is_image_file(media_type: str) -> bool:
    """Tells the file of an image from a JSON one.

    Args:
        media_type: As `Content-Type` has it.

    Raises:
        UnsupportedMediaType: It is neither.
    """
    named = media_type.partition(";")[0].strip().lower()
    if named == "application/json":
        return False
    if named in MEDIA_TYPES:
        return True
    raise UnsupportedMediaType(
        f"Content-Type is {named or 'missing'}; send application/json, or to predict and explain one of"
        f" {', '.join(MEDIA_TYPES)}."
    )
