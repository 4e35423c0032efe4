"""HTTP/1.1 with as little work for the client as can be: ready-made requests, answers read by httptools."""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools


class Answer(NamedTuple):
    """What came back."""

    status: int
    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers; names are in lower case."""
        lines = (line.partition(b":") for line in self.head.split(b"\r\n"))
        return {name.lower(): value.strip() for name, _, value in lines}


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)(?:\r\n|$)")

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
        self._amid_answer = False
        self._head: list[bytes] = []
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
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

        def done(answer: Answer | None) -> None:
            if not future.done():
                future.set_result(answer)

        self.send(request, done)
        return await future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._amid_answer and (answer := whole_answer(data)) is not None:
            self._finish(answer)
            return
        self._amid_answer = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self.open = False
        self._finish(None)

    def on_message_begin(self) -> None:
        """Of httptools, as the next three."""
        self._head, self._body = [], []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head.append(name + b": " + value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._amid_answer = False
        if not self._parser.should_keep_alive():
            self.open = False
            self.transport.close()
        self._finish(Answer(self._parser.get_status_code(), b"\r\n".join(self._head), b"".join(self._body)))

    def _finish(self, answer: Answer | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)


def whole_answer(data: bytes) -> Answer | None:
    """Reads an answer that came in one piece and leaves the connection open; None for any other.

    Much cheaper than a parser, and what a client spends on the same cores the server lacks.
    """
    end = data.find(b"\r\n\r\n")
    head = data[:end].lower()
    length = _LENGTH.search(head)
    if end < 0 or length is None or end + 4 + int(length[1]) != len(data):
        return None
    if not head.startswith(b"http/1.1 ") or b"\r\nconnection: close" in head:
        return None
    return Answer(int(head[9:12]), data[head.find(b"\r\n") + 2 : end], data[end + 4 :])


async def connect(port: int, source: str | None = None) -> Connection:
    """Opens a connection to this machine.

    Args:
        port: Where the server listens.
        source: The address of this machine that the connection comes from; 127.0.0.1 unless given.

    Raises:
        OSError: Nobody listens there.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        Connection, "127.0.0.1", port, local_addr=(source, 0) if source else None
    )
    return connection
