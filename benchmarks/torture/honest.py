"""The clients that must not notice anything: predictions at a fixed rate, each from an address of its own.

`python -m benchmarks.torture.honest CLIENT PORT SECONDS TRIES` prints `ready`, then one line of JSON.
A request is due at a fixed time and its latency counts from then. Its predictions are lost if its connection
breaks, as often as there are tries, or if its answer is not 200; they are wrong if a logit differs from
onnxruntime's by more than 1e-5.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import NamedTuple

import numpy as np
import uvloop

from benchmarks.peers.catalogue import LABELS, MODEL
from benchmarks.peers.servers import digits, offline
from benchmarks.peers.wire import Answer, Connection, connect, post

IMAGES = 200
_PAUSE = 0.05  # before a request is sent again


class Client(NamedTuple):
    """How an honest client asks: its rate is shared by keep-alive connections."""

    address: str
    rate: int
    connections: int
    batch: int


# The first is the one whose latencies count; the second makes the predictions many.
CLIENTS = {"steady": Client("127.0.0.9", 200, 10, 1), "crowd": Client("127.0.0.10", 100, 16, 10)}


class Honest:
    """An honest client and what it saw.

    Args:
        client: How it asks.
        port: Where the service listens.
        tries: How often a request is sent whose connection breaks.
    """

    def __init__(self, client: Client, port: int, tries: int) -> None:
        self._client, self._port, self._tries = client, port, tries
        images = digits()[:IMAGES]
        self._expected = offline().run(["logits"], {"image": images})[0]
        lists = images[:, 0].tolist()
        batches = (lists[start : start + client.batch] for start in range(0, IMAGES, client.batch))
        bodies = ({"images": batch, "model": MODEL} for batch in batches)
        self._requests = [post("/v1/predict", json.dumps(body).encode()) for body in bodies]
        self._latencies: list[float] = []
        self._lost: Counter[str] = Counter()
        self._asked = self._wrong = self._sent_again = 0

    async def ask_for(self, seconds: float) -> None:
        """Asks at the rate for so long."""
        started = time.perf_counter()
        connections = range(self._client.connections)
        await asyncio.gather(*(self._ask_on(number, started, seconds) for number in connections))

    async def _ask_on(self, number: int, started: float, seconds: float) -> None:
        _, rate, connections, batch = self._client
        connection: Connection | None = None
        for turn in range(int(seconds * rate / connections)):
            due = started + (turn * connections + number) / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._asked += batch
            request = (turn * connections + number) % len(self._requests)
            connection = await self._ask(request, connection)
            self._latencies.append(time.perf_counter() - due)

    async def _ask(self, request: int, connection: Connection | None) -> Connection | None:
        """Asks, again if the connection breaks; returns the connection for the next request."""
        reason = ""
        for _ in range(self._tries):
            if reason:
                self._sent_again += 1
                await asyncio.sleep(_PAUSE)
            try:
                if connection is None or not connection.open:
                    connection = await connect(self._port, source=self._client.address)
            except OSError as error:
                reason = type(error).__name__
                continue
            answer = await connection.ask(self._requests[request])
            if answer is not None:
                self._count(request, answer)
                return connection
            reason = "connection lost"
        self._lost[reason] += self._client.batch
        return connection

    def _count(self, request: int, answer: Answer) -> None:
        if answer.status != 200:
            self._lost[str(answer.status)] += self._client.batch
            return
        logits = [each["logits"] for each in json.loads(answer.body)["predictions"]]
        found = np.array([[each[str(label)] for label in LABELS] for each in logits])  # (batch, classes)
        expected = self._expected[request * self._client.batch :][: len(found)]
        near = np.abs(found - expected).max(axis=1) <= 1e-5  # not if it is NaN
        self._wrong += self._client.batch - int(near.sum())

    def outcome(self) -> dict[str, object]:
        """Returns the counts, and the latencies in milliseconds."""
        p50, p99, worst = (1000 * np.percentile(self._latencies, (50, 99, 100))).round(1).tolist()
        return {
            "asked": self._asked,
            "lost": dict(self._lost),
            "wrong": self._wrong,
            "sent_again": self._sent_again,
            "p50_ms": p50,
            "p99_ms": p99,
            "max_ms": worst,
        }


def main() -> None:
    client, port, seconds, tries = sys.argv[1:]
    honest = Honest(CLIENTS[client], int(port), int(tries))
    print("ready", flush=True)
    uvloop.run(honest.ask_for(float(seconds)))
    print(json.dumps(honest.outcome()))


if __name__ == "__main__":
    main()
