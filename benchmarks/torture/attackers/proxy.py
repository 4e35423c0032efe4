"""nginx before the service, few connections to it for many clients: does every answer belong to its request?

Honest clients send requests ahead on kept connections, each with an id and a digit of its own, and look for
both in the answer. Odd ones beside them send what makes a proxy and a server lose their place. One port
of nginx reads bodies whole before it passes them on, another passes on what comes.
"""

import asyncio
import json
import random
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.peers.catalogue import LABELS, MODEL
from benchmarks.peers.servers import digits, offline
from benchmarks.peers.wire import post
from benchmarks.serving import free_port
from benchmarks.torture.attackers.grammar import stream_of
from benchmarks.torture.task import Task, read_task, tell

_HONEST, _ODD, _AHEAD, _IMAGES = 6, 4, 8, 100
_PATIENCE = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nx-request-id: *(\S+)", re.IGNORECASE)
_SERVER = """
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host localhost;
      {options}
    }}
  }}"""
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/errors crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_max_body_size 32m;
  keepalive_requests 100000000;
  client_body_temp_path {directory}/bodies;
  proxy_temp_path {directory}/answers;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream service {{ server 127.0.0.1:{service}; keepalive 4; }}
{servers}
}}"""
_SMUGGLED = (
    b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: smuggled\r\nContent-Length: 0\r\n\r\n"
)
_JSON = b"Content-Type: application/json\r\n"


@contextmanager
def nginx(service: int) -> Iterator[list[int]]:
    """Starts nginx before a port; yields its two ports: bodies read whole, and passed on as they come."""
    ports = [free_port(), free_port()]
    options = ["", "proxy_request_buffering off; proxy_buffering off;"]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # started by root, nginx works as somebody else
        servers = "".join(_SERVER.format(port=p, options=o) for p, o in zip(ports, options, strict=True))
        file = Path(directory) / "nginx.conf"
        file.write_text(_CONFIGURATION.format(directory=directory, service=service, servers=servers))
        process = subprocess.Popen(["nginx", "-e", f"{directory}/errors", "-c", str(file)])
        try:
            yield ports
        finally:
            process.terminate()
            process.wait()


class Honest:
    """Clients that check what belongs to what.

    Attributes:
        bodies: What they send, by digit.
        saw: What was counted.
        findings: Answers that belong to another request, or to none.
    """

    def __init__(self) -> None:
        images = digits()[:_IMAGES]
        self._expected = offline().run(["logits"], {"image": images})[0]
        bodies = ({"images": [image], "model": MODEL} for image in images[:, 0].tolist())
        self.bodies = [json.dumps(body).encode() for body in bodies]
        self._ids = count()
        self.saw: Counter[str] = Counter()
        self.findings: list[str] = []

    async def ask(self, port: int, end: float) -> None:
        """Asks on one connection, opened again when it is closed, until a time of the event loop."""
        while asyncio.get_running_loop().time() < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while asyncio.get_running_loop().time() < end and await self._ask_ahead(reader, writer):
                    pass
            except (OSError, EOFError, TimeoutError) as error:
                self.findings.append(f"an honest request got no answer: {error!r}")
            finally:
                writer.close()

    async def _ask_ahead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Sends some requests at once and reads their answers; tells whether the connection goes on."""
        asked = [(b"torture-%d" % next(self._ids), random.randrange(_IMAGES)) for _ in range(_AHEAD)]
        asked = asked[: random.randint(1, _AHEAD)]
        for name, index in asked:
            writer.write(post("/v1/predict", self.bodies[index], {"X-Request-ID": name.decode()}))
        for name, index in asked:
            head, body = await asyncio.wait_for(_answer(reader), _PATIENCE)
            self._check(name, index, head, body)
        return b"\r\nconnection: close" not in head.lower()

    def _check(self, name: bytes, index: int, head: bytes, body: bytes) -> None:
        self.saw["honest answers"] += 1
        found = _ID.search(head)
        if head[9:12] != b"200" or found is None or found[1] != name:
            self.findings.append(f"request {name!r} was answered by {head!r} {body[:200]!r}")
            return
        logits = json.loads(body)["predictions"][0]["logits"]
        told = np.array([logits[str(label)] for label in LABELS])
        if not np.abs(told - self._expected[index]).max() <= 1e-5:
            self.findings.append(f"request {name!r} was answered with another's prediction")


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


def odd_streams(honest: bytes) -> list[list[bytes]]:
    """Returns what odd clients send, in pieces; after the last they read for a moment and leave."""
    start, size = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n" + _JSON, len(honest)
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    smuggled = b"Content-Length: %d\r\n\r\n" % len(_SMUGGLED)
    return [
        [chunked + b"%x\r\n" % (size // 2) + honest[: size // 2] + b"\r\n",
         b"%x\r\n" % (size - size // 2) + honest[size // 2 :] + b"\r\n0\r\n\r\n"],
        [chunked + b"%x\r\n" % size + honest[:100]],
        [chunked + b"%x\r\n" % len(_SMUGGLED) + _SMUGGLED + b"\r\n0\r\n\r\n"],
        [start + b"Content-Length: %d\r\n\r\n" % size + honest[:100]],
        [start + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % size, honest],
        [start + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % size],
        [b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3],
        [start + b"Content-Length: %d\r\n\r\n" % (9 * 2**20), *[b" " * 2**18] * 36],
        [start + b"Content-Length: %d\r\n\r\n" % (9 * 2**20), b" " * 2**18],
        [b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + smuggled + _SMUGGLED],
        [b"POST /nothing HTTP/1.1\r\nHost: localhost\r\n" + smuggled + _SMUGGLED],
        [b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n" + smuggled + _SMUGGLED],
        [start + b"Content-Encoding: gzip\r\n" + smuggled + _SMUGGLED],
        [start + b"Origin: http://elsewhere\r\n" + smuggled, _SMUGGLED],
    ]  # fmt: skip


async def be_odd(port: int, end: float, streams: list[list[bytes]], saw: Counter[str]) -> None:
    """Sends one odd thing after the other until a time of the event loop."""
    while asyncio.get_running_loop().time() < end:
        pieces = (
            random.choice(streams) if random.random() < 0.7 else [stream_of(random.Random(random.random()))]
        )
        saw["odd clients"] += 1
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.wait_for(writer.drain(), _PATIENCE)
                    await asyncio.sleep(0.01)
                await asyncio.wait_for(reader.read(65_536), random.choice((0.0, 0.2)))
            finally:
                writer.transport.abort() if random.random() < 0.5 else writer.close()


async def ask_through(ports: list[int], task: Task) -> Honest:
    """Lets the clients ask through both ports; returns the honest ones."""
    random.seed(task.seed)
    honest = Honest()
    streams = odd_streams(honest.bodies[0])
    await _until_it_listens(ports)
    end = asyncio.get_running_loop().time() + task.seconds
    asking = [honest.ask(port, end) for port in ports for _ in range(_HONEST)]
    odd = [be_odd(port, end, streams, honest.saw) for port in ports for _ in range(_ODD)]
    await asyncio.gather(*asking, *odd)
    return honest


async def _until_it_listens(ports: list[int]) -> None:
    for port in ports:
        for _ in range(600):
            with suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            await asyncio.sleep(0.1)


def main() -> None:
    task = read_task()
    with nginx(task.port) as ports:
        honest = asyncio.run(ask_through(ports, task))
    tell(honest.saw, honest.findings)


if __name__ == "__main__":
    main()
