"""HTTP/1.1 with as little work for the client as can be: ready-made requests, answers read to their end."""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """What came back."""

    status: int
    head: bytes
    body: bytes


Done = Callable[[Answer | None], None]


def post(path: str, body: bytes, **headers: str) -> bytes:
    """Returns the bytes of a POST request; header names may use underscores."""
    lines = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.open = True
        self.transport: asyncio.Transport
        self._done: Done | None = None
        self._received = bytearray()
        self._end = 0  # of the answer; 0 while its head is not complete
        self._body = 0

    def send(self, request: bytes, done: Done) -> None:
        """Sends a request; `done` gets the answer, or None if the connection breaks before it."""
        assert self._done is None
        self._done = done
        if self.open:
            self.transport.write(request)
        else:
            self._finish(None)

    async def ask(self, request: bytes) -> Answer | None:
        """Sends a request and waits for its answer."""
        future = asyncio.get_running_loop().create_future()
        self.send(request, lambda answer: future.done() or future.set_result(answer))
        return await future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if self._end == 0:
            head_end = received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            length = _LENGTH.search(received, 0, head_end)
            if length is None:  # all that are compared here tell the length
                self.transport.abort()
                return
            self._body = head_end + 4
            self._end = self._body + int(length[1])
        if len(received) >= self._end:
            head = bytes(received[: self._body])
            answer = Answer(int(head[9:12]), head, bytes(received[self._body : self._end]))
            received.clear()
            self._end = 0
            if b"\r\nconnection: close" in head.lower():
                self.open = False
                self.transport.close()
            self._finish(answer)

    def connection_lost(self, _error: Exception | None) -> None:
        self.open = False
        self._finish(None)

    def _finish(self, answer: Answer | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)


async def connect(port: int) -> Connection:
    """Opens a connection to this machine.

    Raises:
        OSError: Nobody listens there.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection
