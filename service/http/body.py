"""Bodies that have been read whole: handed on, and told apart by their media type."""

from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive

from service.codecs.preprocessing import MEDIA_TYPES
from service.errors import UnsupportedMediaType
from service.http.validation_errors import invalid_input

Schema = TypeVar("Schema", bound=BaseModel)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that hands out a body that has been read, and then what else comes."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def parse_query(schema: type[Schema], query: bytes) -> Schema:
    """Reads a query string by its schema; unknown names are refused before.

    Raises:
        InvalidInput: A value is not what the schema says.
    """
    try:
        return schema.model_validate(dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))
    except ValidationError as error:
        raise invalid_input(error.errors(include_url=False)) from None


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
