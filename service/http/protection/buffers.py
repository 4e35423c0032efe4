"""The bytes of large bodies and of large answers that a process holds at once."""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from service.budgets import SMALL_BODY, Budgets
from service.errors import AnswerTooLarge, BodyTooLarge, BodyTooSlow, BuffersFull, invalid_at
from service.http.context import RequestContext
from service.telemetry import metrics

# Smaller ones are not counted: so many connections may have one each, and large ones never shut them out.
_SMALL_ANSWER = 128 * 2**10
# Beyond this much of a refused body the client is cut off instead of read to its end.
_MAX_DRAINED = 128 * 2**20
_BYTES_A_NUMBER = 10
# A whole explanation is about so many times as long as the lists of numbers that it explains.
_EXPLANATION_LENGTH = 20
_CLOSE = {"Connection": "close"}  # what is left of the body is not read
_RETRY = {"Retry-After": "1"}


class InputBuffers:
    """Reads request bodies, whole, before anything looks at them; counts the bytes that are held.

    Args:
        budgets: The size of a body and the time for it, and the bytes of all large ones.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._max_body, self._seconds = budgets.max_body_bytes, budgets.body_timeout_seconds
        self._most = budgets.max_buffered_input_bytes
        self._whole = 0  # bytes of those that are read and not yet answered
        self._coming: dict[asyncio.Timeout, int] = {}  # of those that are being read, the oldest first
        metrics.budget("buffered input bytes", self._most, self._used)

    def _used(self) -> int:
        return self._whole + sum(self._coming.values())

    async def read(self, receive: Receive, context: RequestContext, is_there: bool = False) -> bytes:
        """Returns the whole body; `release` must follow.

        A body that is too large is read to its end and dropped before it is refused, so that the client
        sees the answer and not a reset connection.

        Args:
            receive: ASGI's.
            context: Of the request.
            is_there: All of it came with the head: nothing is waited for, and no clock is needed.

        Raises:
            BodyTooLarge: It has more bytes than a body may have.
            BodyTooSlow: It is not all there in time, or is the slowest of those that are too many together.
            BuffersFull: The bodies that are held already leave no room for it.
            ClientDisconnect: The client is gone.
        """
        if is_there:
            body: bytes = (await _receive_part(receive)).get("body", b"")
        else:
            body = await self._read_in_time(receive, context)
        if len(body) > self._max_body:
            raise BodyTooLarge(
                f"The body has more than {self._max_body} bytes. Send fewer images a request, or PNG instead "
                "of lists of numbers."
            )
        if len(body) > SMALL_BODY:
            self._whole += len(body)
            context.buffered_input = len(body)
        return body

    async def _read_in_time(self, receive: Receive, context: RequestContext) -> bytes:
        try:
            async with asyncio.timeout(context.timeout(self._seconds)) as timeout:
                message = await _receive_part(receive)
                body: bytes = message.get("body", b"")
                return await self._read_on(body, receive, timeout) if message.get("more_body") else body
        except TimeoutError:
            raise BodyTooSlow("The body was not all there in time.", headers=_CLOSE) from None

    async def _read_on(self, first: bytes, receive: Receive, timeout: asyncio.Timeout) -> bytes:
        """Returns the body, or of one that is too large more than is allowed of it."""
        parts, size, more = [first], len(first), True
        try:
            while more and size <= _MAX_DRAINED:
                message = await _receive_part(receive)
                part = message.get("body", b"")
                if size <= self._max_body:
                    parts.append(part)
                    self._make_room(timeout, size + len(part))
                size += len(part)
                more = message.get("more_body", False)
        finally:
            self._coming.pop(timeout, None)
        return b"".join(parts)

    def _make_room(self, timeout: asyncio.Timeout, size: int) -> None:
        """Counts the bytes of a body that is being read; those that began before it are given up for it."""
        if size <= SMALL_BODY:
            return
        self._coming[timeout] = size
        while self._used() > self._most:
            oldest = next(iter(self._coming))
            if oldest is timeout:
                raise BuffersFull(
                    "The bodies of other requests leave no room for this one.", headers=_RETRY | _CLOSE
                )
            del self._coming[oldest]
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())

    def release(self, context: RequestContext) -> None:
        """Counts a body that is held no longer."""
        self._whole -= context.buffered_input
        context.buffered_input = 0


class OutputBuffers:
    """Counts the bytes of large answers that are made, or written and unread.

    Args:
        budgets: The numbers of an answer, and the bytes of all large ones.
        unread: Returns the bytes that are written and that clients have not read.
    """

    def __init__(self, budgets: Budgets, unread: Callable[[], int]) -> None:
        self._max_numbers, self._most = budgets.max_answer_numbers, budgets.max_buffered_output_bytes
        self._made, self._unread = 0, unread
        metrics.budget("buffered output bytes", self._most, self._used)

    def _used(self) -> int:
        return self._made + self._unread()

    def refuse_early(self, body_bytes: int) -> None:
        """Refuses a large explain request before it is parsed, if others leave no room for a whole answer.

        Raises:
            BuffersFull: So it is.
        """
        whole = min(body_bytes * _EXPLANATION_LENGTH, self._max_numbers * _BYTES_A_NUMBER, self._most)
        if self._used() + whole > self._most:
            raise _no_room()

    def reserve(self, context: RequestContext, numbers: int) -> None:
        """Reserves room for an answer before it is computed, until its request ends.

        Raises:
            AnswerTooLarge: It has more numbers than an answer may have.
            BuffersFull: Others' answers leave no room for it.
        """
        if numbers > self._max_numbers:
            message = (
                f"the answer would hold {numbers} numbers, {self._max_numbers} are allowed: ask for less"
            )
            raise invalid_at([], message, AnswerTooLarge)
        if (size := numbers * _BYTES_A_NUMBER) <= _SMALL_ANSWER:
            return
        if self._used() + size > self._most:
            raise _no_room()
        self._made += size
        context.reserved_output += size

    def release(self, context: RequestContext) -> None:
        """Ends the reservation of a request."""
        self._made -= context.reserved_output
        context.reserved_output = 0


def _no_room() -> BuffersFull:
    return BuffersFull("Answers that others have to read leave no room for this one.", headers=_RETRY)


async def _receive_part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message
