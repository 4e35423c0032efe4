"""Reading a request: its body within limits, its JSON by the schemas, its images as one array."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from service.api.schemas import InputImage, PngImage
from service.codecs.preprocessing import NotADigitError, digit_from_base64, digit_from_png
from service.http.problems import (
    BodyTooLarge,
    BodyTooSlow,
    UnsupportedMediaType,
    invalid_at,
    invalid_input,
)
from service.inference.engine import Images
from service.settings import Settings

Body = TypeVar("Body", bound=BaseModel)
Answer = TypeVar("Answer")

# Beyond this much of a refused body the client is cut off instead of read to its end.
_MOST_DRAINED = 128 * 2**20
# Requests up to this size are answered on the event loop: cheaper than a thread's hand-over.
SMALL_BODY = 64 * 2**10


@dataclass(frozen=True)
class Intake:
    """The images of a request.

    Attributes:
        images: (N, 28, 28) float32 in [0, 1].
        preprocessed: For each image the steps that brought a PNG into MNIST's form; None for a list.
    """

    images: Images
    preprocessed: list[list[str] | None]


async def read_body(request: Request, settings: Settings, deadline: float) -> bytes:
    """Returns the whole body.

    A body that is too large is read to its end and dropped before it is refused, so that the client
    sees the answer and not a reset connection.

    Args:
        request: A request whose body nobody has read.
        settings: Where the limit is.
        deadline: A `time.monotonic()` value; a client that has not sent it all by then is given up.

    Raises:
        BodyTooLarge: It has more than `max_body_bytes`.
        BodyTooSlow: It is not all there in time.
        ClientDisconnect: The client is gone.
    """
    first = await _next_part(request, deadline)
    if not first.get("more_body"):
        return _within_limit([first.get("body", b"")], settings)
    parts, size = [first.get("body", b"")], len(first.get("body", b""))
    while True:
        message = await _next_part(request, deadline)
        size += len(part := message.get("body", b""))
        if size <= settings.max_body_bytes:
            parts.append(part)
        elif size > _MOST_DRAINED:
            break
        if not message.get("more_body"):
            break
    if size > settings.max_body_bytes:
        raise _too_large(settings)
    return b"".join(parts)


async def _next_part(request: Request, deadline: float) -> Message:
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            message = await request.receive()
    except TimeoutError:
        raise BodyTooSlow("The body was not all there before the request's time ran out.") from None
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def _within_limit(parts: list[bytes], settings: Settings) -> bytes:
    if len(parts[0]) > settings.max_body_bytes:
        raise _too_large(settings)
    return parts[0]


def _too_large(settings: Settings) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body has more than {settings.max_body_bytes} bytes. Send fewer images a request, or PNG "
        f"instead of lists of numbers."
    )


async def off_the_loop(body: bytes, work: Callable[[], Answer]) -> Answer:
    """Runs `work` here for a small body, in a thread for a large one."""
    return work() if len(body) <= SMALL_BODY else await asyncio.to_thread(work)


def is_png(request: Request) -> bool:
    """Tells a raw PNG body from a JSON one.

    Raises:
        UnsupportedMediaType: It is neither.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return False
    if media_type == "image/png":
        return True
    raise UnsupportedMediaType(
        f"Content-Type is {media_type or 'missing'}; send application/json, or image/png to predict "
        f"and explain."
    )


def parse(schema: type[Body], body: bytes) -> Body:
    """Reads a JSON body by its schema.

    Raises:
        InvalidInput: It is not JSON, or not what the schema says; every place is named.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise invalid_input(error) from None


def parse_values(schema: type[Body], values: dict[str, Any]) -> Body:
    """Reads plain values, a query's, by a schema.

    Raises:
        InvalidInput: They are not what the schema says.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise invalid_input(error) from None


def images_of(images: Sequence[InputImage], most: int, settings: Settings, field: str = "images") -> Intake:
    """Returns the images of a parsed request as one array.

    Raises:
        InvalidInput: There are more than `most`, or a PNG cannot be read.
    """
    if len(images) > most:
        raise invalid_at([field], f"{len(images)} images are too many, at most {most} are allowed")
    if not any(isinstance(image, PngImage) for image in images):
        return Intake(_array(images), [None] * len(images))
    read = [_image(image, [field, index, "png"], settings) for index, image in enumerate(images)]
    return Intake(np.stack([image for image, _ in read]), [steps for _, steps in read])


def _array(images: Sequence[Any]) -> Images:
    """Returns (N, 28, 28); checked lists need not be searched for their shape as np.array would."""
    rows = chain.from_iterable(images)
    pixels = np.fromiter(chain.from_iterable(rows), np.float32, len(images) * 28 * 28)
    return pixels.reshape(-1, 28, 28)


def image_of_png(body: bytes, settings: Settings) -> Intake:
    """Returns the one image of a raw PNG body.

    Raises:
        InvalidInput: The PNG cannot be read.
    """
    try:
        image, steps = digit_from_png(body, settings.max_png_pixels)
    except NotADigitError as error:
        raise invalid_at([], str(error)) from None
    return Intake(image[None], [steps])


def _image(image: InputImage, place: list[str | int], settings: Settings) -> tuple[Images, list[str] | None]:
    if not isinstance(image, PngImage):
        return _array([image])[0], None
    try:
        return digit_from_base64(image.png, settings.max_png_pixels)
    except NotADigitError as error:
        raise invalid_at(place, str(error)) from None
