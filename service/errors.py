"""Every error that a client can see: an exception each, with a stable type, a title and an HTTP status.

    Problem
      InvalidInput            422   ModelNotFound        404   QueueFull           429
        TooManyImages         422   NotFound             404   RateLimited         429
        TooManyPixels         422   MethodNotAllowed     405   BuffersFull         503
        TooManyValues         422   ModelNotLoadable     409   TooManyConnections  503
        AnswerTooLarge        422   Unauthorized         401   WorkersUnavailable  503
      UnsupportedMediaType    415   Forbidden            403   ServiceStopping     503
      BodyTooLarge            413   CrossSite            403   DeadlineExceeded    504
      HeadTooLarge            431   UnknownHost          421   WorkerLost          500
      HeadTooSlow             408                              InternalError       500
      BodyTooSlow             408

Raise one anywhere in the service. Clients may branch on a type, so it never changes. `service.http.problems`
turns them into responses.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel


class PlacedError(BaseModel):
    """One thing that is wrong with the input, and where."""

    loc: list[str | int]
    msg: str


class PlacedBox(BaseModel):
    """A rectangle in a picture, in pixels of the picture as it is seen, upright."""

    left: int
    top: int
    width: int
    height: int


class Problem(Exception):  # noqa: N818 (RFC 9457's word)
    """Base of all errors that a client sees.

    Args:
        detail: What is wrong with this request and what would be right.
        errors: The places in the input, if it is about input.
        headers: Extra response headers.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(
        self,
        detail: str,
        errors: Sequence[PlacedError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail, self.errors, self.headers = detail, errors, dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Returns the problem as plain JSON values."""
        body: dict[str, Any] = {
            "type": f"urn:whitebox:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors is not None:
            body["errors"] = [error.model_dump() for error in self.errors]
        return body


class InvalidInput(Problem):
    """The request can be read but not answered.

    Attributes:
        boxes: In a picture that shows not one sign but several: where they are.
    """

    slug, title, status = "invalid-input", "The input is not valid", 422
    boxes: Sequence[PlacedBox] = ()

    def body(self) -> dict[str, Any]:
        """Returns the problem as plain JSON values."""
        boxes = {"boxes": [box.model_dump() for box in self.boxes]} if self.boxes else {}
        return {**super().body(), **boxes}


class TooManyImages(InvalidInput):
    """It has more images than this call takes."""

    slug, title = "too-many-images", "There are too many images"


class TooManyPixels(InvalidInput):
    """Its image files have more pixels than the service unpacks."""

    slug, title = "too-many-pixels", "The image files have too many pixels"


class TooManyValues(InvalidInput):
    """Its JSON has more values, or fields, than any request needs."""

    slug, title = "too-many-values", "The JSON has too many values"


class AnswerTooLarge(InvalidInput):
    """Its answer would have more numbers than the service writes."""

    slug, title = "answer-too-large", "The answer would be too large"


class UnsupportedMediaType(Problem):
    """The body is neither JSON nor, where that works, a PNG."""

    slug, title, status = "unsupported-media-type", "The media type is not supported", 415


class BodyTooLarge(Problem):
    """The body is larger than the service reads."""

    slug, title, status = "body-too-large", "The body is too large", 413


class HeadTooLarge(Problem):
    """Request line and headers are larger than the service reads."""

    slug, title, status = "head-too-large", "The request's head is too large", 431


class HeadTooSlow(Problem):
    """The head did not arrive in time."""

    slug, title, status = "head-too-slow", "The request's head took too long", 408


class ModelNotFound(Problem):
    """No loaded model has the name."""

    slug, title, status = "model-not-found", "The model is not loaded", 404


class NotFound(Problem):
    """There is nothing at the path."""

    slug, title, status = "not-found", "There is nothing at this path", 404


class MethodNotAllowed(Problem):
    """The path exists, not with this method."""

    slug, title, status = "method-not-allowed", "The method is not allowed here", 405


class Unauthorized(Problem):
    """The request brings no API key that opens the service."""

    slug, title, status = "unauthorized", "An API key is needed", 401


class Forbidden(Problem):
    """The settings do not allow this."""

    slug, title, status = "forbidden", "The settings do not allow this", 403


class CrossSite(Problem):
    """A web page of another site sent the request."""

    slug, title, status = "cross-site", "Requests of other sites are refused", 403


class UnknownHost(Problem):
    """The request names a host that the service does not answer for."""

    slug, title, status = "unknown-host", "The service does not answer for this host", 421


class BodyTooSlow(Problem):
    """The body did not arrive in time."""

    slug, title, status = "body-too-slow", "The body took too long", 408


class ModelNotLoadable(Problem):
    """The package of a model is damaged; what was loaded before goes on."""

    slug, title, status = "model-not-loadable", "The model cannot be loaded", 409


class RateLimited(Problem):
    """An API key is used more often than it may be."""

    slug, title, status = "rate-limited", "Too many requests with this API key", 429


class QueueFull(Problem):
    """As many requests wait, or are in progress, as may."""

    slug, title, status = "queue-full", "Too many requests are waiting", 429


class BuffersFull(Problem):
    """As many bytes of bodies, or of answers, are held as may be."""

    slug, title, status = "buffers-full", "Too many bytes are held already", 503


class TooManyConnections(Problem):
    """As many connections are open as may be."""

    slug, title, status = "too-many-connections", "Too many connections are open", 503


class WorkersUnavailable(Problem):
    """The service runs without worker processes for this, or they cannot start."""

    slug, title, status = "workers-unavailable", "This service runs no workers for this", 503


class WorkerLost(Problem):
    """The process that worked on the request died; only this request is affected."""

    slug, title, status = "worker-lost", "The worker process died", 500


class DeadlineExceeded(Problem):
    """The time ran out before there was anything to answer."""

    slug, title, status = "deadline-exceeded", "The time ran out", 504


class ServiceStopping(Problem):
    """The service ends before the request's work does."""

    slug, title, status = "service-stopping", "The service is ending", 503


class InternalError(Problem):
    """A defect of the service; the log has the details under the request's id."""

    slug, title, status = "internal-error", "The service failed", 500

    def __init__(self) -> None:
        super().__init__(
            "The service failed on this request. Its log has more under the X-Request-ID of this answer."
        )


def invalid_at(
    loc: list[str | int],
    message: str,
    problem: type[InvalidInput] = InvalidInput,
    boxes: Sequence[tuple[int, int, int, int]] = (),
) -> InvalidInput:
    """Returns the problem of one place in the input; an empty place is the body itself.

    Args:
        loc: The place.
        message: What is wrong there.
        problem: Its class.
        boxes: Left, top, width and height of what was found in a picture.
    """
    where = ".".join(map(str, loc)) or "the body"
    found = problem(f"{where}: {message}", [PlacedError(loc=loc, msg=message)])
    found.boxes = [PlacedBox(**dict(zip(PlacedBox.model_fields, box, strict=True))) for box in boxes]
    return found
