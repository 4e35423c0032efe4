"""HTTP/1.1 with as little work for the client as can be: ready-made requests, answers read by httptools."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import httptools


class Answer(NamedTuple):
    """What came back; header names are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


Done = Callable[[Answer | None], None]


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Returns the bytes of a POST request, of JSON unless the headers say otherwise."""
    lines = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **(headers or {})}.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.open = True
        self.transport: asyncio.Transport
        self._done: Done | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self.open = False
        self._finish(None)

    def on_message_begin(self) -> None:
        """Of httptools, as the next three."""
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.open = False
            self.transport.close()
        self._finish(Answer(self._parser.get_status_code(), self._headers, b"".join(self._body)))

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
