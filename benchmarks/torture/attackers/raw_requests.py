"""Raw bytes to the service and to nothing but uvicorn: both must read the same requests out of them.

Compared are how many answers come, which of them says that this is no HTTP, and whether the connection is
closed. The service may do one thing more: refuse a request before the rest of its body is there. It never
answers with a 5xx.
"""

import asyncio
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import NamedTuple

from benchmarks.measuring import ROOT
from benchmarks.serving import BIN, free_port
from benchmarks.torture.attackers.grammar import stream_of
from benchmarks.torture.task import read_task, tell

AT_ONCE = 48
# Nothing more is awaited after so many seconds without a byte; longer before a disagreement is believed.
PATIENCE, MORE_PATIENCE = 0.5, 4.0
_INVALID = b"Invalid HTTP request received."
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Seen(NamedTuple):
    """What came back on a connection: the answers' statuses, 0 where uvicorn says that it is no HTTP."""

    statuses: tuple[int, ...]
    closed: bool

    def agrees(self, uvicorn: "Seen") -> bool:
        """Tells whether the same requests were read."""
        mine, theirs = [bool(status) for status in self.statuses], [bool(each) for each in uvicorn.statuses]
        return (self.closed == uvicorn.closed and mine == theirs) or self.refused_early(uvicorn)

    def refused_early(self, uvicorn: "Seen") -> bool:
        """Tells whether a request whose body is not all there was refused, and all before read alike.

        The connection may be closed then, as where the request asks for it: uvicorn still waits for the body.
        """
        *before, last = self.statuses or (0,)
        same = [bool(status) for status in before] == [bool(status) for status in uvicorn.statuses]
        return same and 400 <= last < 500 and (self.closed or not uvicorn.closed)


@contextmanager
def plain_uvicorn() -> Iterator[int]:
    """Starts uvicorn with the parser and the settings that the service has; yields its port."""
    port = free_port()
    options = [
        "--http",
        "httptools",
        "--ws",
        "none",
        "--lifespan",
        "off",
        "--no-access-log",
        "--no-server-header",
    ]
    command = [str(BIN / "uvicorn"), "benchmarks.torture.attackers.oracle:app", "--port", str(port), *options]
    process = subprocess.Popen([*command, "--timeout-keep-alive", "75", "--log-level", "critical"], cwd=ROOT)
    try:
        asyncio.run(_until_it_listens(port))
        yield port
    finally:
        process.terminate()
        process.wait()


async def compare(port: int, uvicorn: int, cases: Iterator[bytes]) -> tuple[Counter[str], list[str]]:
    """Sends every case to both; returns what was counted, and where they disagree or ours failed."""
    saw: Counter[str] = Counter({"cases": 0, "disagreements": 0, "refused early": 0})
    findings: list[str] = []

    async def one_after_the_other() -> None:
        for sent in cases:
            ours, theirs = await _both(port, uvicorn, sent, PATIENCE)
            if not ours.agrees(theirs):
                ours, theirs = await _both(port, uvicorn, sent, MORE_PATIENCE)
            saw["cases"] += 1
            saw["refused early"] += len(ours.statuses) > len(theirs.statuses)
            saw.update(str(status or "no HTTP") for status in ours.statuses)
            if not ours.agrees(theirs):
                saw["disagreements"] += 1
                findings.append(f"{ours} where uvicorn has {theirs}: {sent!r}")
            elif max(ours.statuses, default=0) >= 500:
                findings.append(f"{ours}: {sent!r}")

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return saw, findings


async def _both(port: int, uvicorn: int, sent: bytes, patience: float) -> tuple[Seen, Seen]:
    ours, theirs = await asyncio.gather(_send(port, sent, patience), _send(uvicorn, sent, patience))
    return ours, theirs


async def _send(port: int, sent: bytes, patience: float) -> Seen:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, closed = b"", False
    try:
        writer.write(sent)
        while not closed:
            part = await asyncio.wait_for(reader.read(65_536), patience)
            received, closed = received + part, not part
    except TimeoutError:
        pass
    except ConnectionError:
        closed = True
    finally:
        writer.close()
    return Seen(tuple(statuses_of(received)), closed)


def statuses_of(received: bytes) -> Iterator[int]:
    """Returns the statuses of the answers in what was received, without those that say to go on."""
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, received
        assert head.startswith(b"HTTP/1.1 "), received
        status, length = int(head[9:12]), _LENGTH.search(head)
        if status == 400 and rest == _INVALID:
            yield 0
            return
        if status != 100:
            yield status
        # An answer to HEAD tells the length of a body that does not follow.
        has_body = length is not None and not rest.startswith(b"HTTP/1.1 ")
        received = rest[int(length[1]) :] if length and has_body else rest


async def _until_it_listens(port: int) -> None:
    for _ in range(600):
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            return
        except OSError:
            await asyncio.sleep(0.1)
    raise TimeoutError("uvicorn does not listen")


def cases_until(end: float, seed: int) -> Iterator[bytes]:
    """Returns cases until a time of the running event loop; number N of a seed is always the same."""
    for number in count():
        if asyncio.get_running_loop().time() > end:
            return
        yield stream_of(Random(f"{seed}/{number}"))


def main() -> None:
    task = read_task()

    async def run() -> tuple[Counter[str], list[str]]:
        end = asyncio.get_running_loop().time() + task.seconds
        return await compare(task.port, uvicorn, cases_until(end, task.seed))

    with plain_uvicorn() as uvicorn:
        tell(*asyncio.run(run()))


if __name__ == "__main__":
    main()
