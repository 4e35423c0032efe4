"""The load at a constant rate, against servers of a few lines."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from benchmarks.peers.open_loop import OpenLoop
from benchmarks.peers.wire import Answer, connect, post

REQUEST = post("/", b"{}")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def load_on(
    handler: Handler, rate: float, seconds: float, most_connections: int = 1024, deadline=1.0
) -> dict:
    async def run() -> dict:
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            load = OpenLoop(server.sockets[0].getsockname()[1], REQUEST, most_connections)
            await load.offer(rate, seconds)
            await load.finish(1)
            return load.outcome(deadline)

    return uvloop.run(run())


def answering(answer: bytes, seconds_busy: float = 0.0) -> Handler:
    """A server that does one thing at a time, as a busy event loop does."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"{}"):
            time.sleep(seconds_busy)
            writer.write(answer)

    return handle


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_every_request_of_a_quick_server_is_answered_in_time():
    outcome = load_on(answering(OK), rate=200, seconds=0.5)
    assert outcome["goodput"] == 200
    assert outcome["unanswered"] == 0


def test_latency_counts_from_when_a_request_was_due_not_from_when_it_was_sent():
    """One connection, 20 ms an answer, one request due every 10 ms: the last of 50 has queued for 500 ms."""
    outcome = load_on(answering(OK, 0.02), rate=100, seconds=0.5, most_connections=1, deadline=0.1)
    assert outcome["p99_ms"] > 300
    assert outcome["goodput"] < 60


def test_refusals_count_apart():
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
    outcome = load_on(answering(refusal), rate=100, seconds=0.3)
    assert outcome["by_status"]["429"]["count"] == 30
    assert outcome["goodput"] == 0


def test_a_request_that_is_never_answered_is_told():
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    outcome = load_on(silent, rate=50, seconds=0.2)
    assert outcome["unanswered"] == 10
    assert outcome["p50_ms"] > 1000


def test_a_broken_connection_is_an_error_and_the_load_goes_on():
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.close()

    outcome = load_on(rude, rate=100, seconds=0.5)
    assert outcome["errors"] == {"connection lost": 50}


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_an_answer_is_read_in_whatever_pieces_it_comes(pieces):
    whole = b"HTTP/1.1 404 Not Found\r\nX-Name: a: b\r\nContent-Length: 4\r\n\r\nbody"
    parts = [
        whole[start : start + len(whole) // pieces + 1]
        for start in range(0, len(whole), len(whole) // pieces + 1)
    ]

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"{}")
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.01)
        writer.close()

    async def ask() -> list[Answer | None]:
        async with await asyncio.start_server(slowly, "127.0.0.1", 0) as server:
            connection = await connect(server.sockets[0].getsockname()[1])
            return [await connection.ask(REQUEST) for _ in range(2)]

    for answer in uvloop.run(ask()):
        assert (answer.status, answer.body) == (404, b"body")
        assert answer.headers == {b"x-name": b"a: b", b"content-length": b"4"}


def test_a_server_that_closes_after_its_answer_is_not_asked_again():
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    async def ask() -> bool:
        async with await asyncio.start_server(answering(closing), "127.0.0.1", 0) as server:
            connection = await connect(server.sockets[0].getsockname()[1])
            await connection.ask(REQUEST)
            return connection.open

    assert not uvloop.run(ask())


def test_chunked_answers_are_read():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"

    async def ask() -> bytes:
        async with await asyncio.start_server(answering(chunked), "127.0.0.1", 0) as server:
            connection = await connect(server.sockets[0].getsockname()[1])
            answer = await connection.ask(REQUEST)
            connection.transport.abort()
            return answer.body

    assert uvloop.run(ask()) == b"{}"
