"""The client that must not notice anything: predictions at a fixed rate from an address of its own.

`python -m benchmarks.torture.honest PORT SECONDS` prints `ready`, then one line of JSON.
A request is due at a fixed time and its latency counts from then. It is lost if its connection breaks or its
answer is not 200, and wrong if a logit differs from onnxruntime's by more than 1e-5.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import numpy as np
import uvloop

from benchmarks.peers.catalogue import LABELS, MODEL
from benchmarks.peers.servers import digits, offline
from benchmarks.peers.wire import Answer, Connection, connect, post

ADDRESS, RATE, CONNECTIONS, IMAGES = "127.0.0.9", 200, 10, 200


class Honest:
    """Ten keep-alive connections that share the rate.

    Args:
        port: Where the service listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        images = digits()[:IMAGES]
        self._expected = offline().run(["logits"], {"image": images})[0]
        bodies = ({"images": [image], "model": MODEL} for image in images[:, 0].tolist())
        self._requests = [post("/v1/predict", json.dumps(body).encode()) for body in bodies]
        self._latencies: list[float] = []
        self._lost: Counter[str] = Counter()
        self._asked = self._wrong = 0

    async def ask_for(self, seconds: float) -> None:
        """Asks at the rate for so long."""
        started = time.perf_counter()
        await asyncio.gather(*(self._ask_on(number, started, seconds) for number in range(CONNECTIONS)))

    async def _ask_on(self, number: int, started: float, seconds: float) -> None:
        connection: Connection | None = None
        for turn in range(int(seconds * RATE / CONNECTIONS)):
            due = started + (turn * CONNECTIONS + number) / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._asked += 1
            index = (turn * CONNECTIONS + number) % IMAGES
            try:
                if connection is None or not connection.open:
                    connection = await connect(self._port, source=ADDRESS)
            except OSError as error:
                self._lost[type(error).__name__] += 1
                continue
            self._count(index, await connection.ask(self._requests[index]))
            self._latencies.append(time.perf_counter() - due)

    def _count(self, index: int, answer: Answer | None) -> None:
        if answer is None or answer.status != 200:
            self._lost[str(answer.status) if answer else "connection lost"] += 1
            return
        logits = json.loads(answer.body)["predictions"][0]["logits"]
        found = np.array([logits[str(label)] for label in LABELS])
        self._wrong += not np.abs(found - self._expected[index]).max() <= 1e-5  # so of NaN too

    def outcome(self) -> dict[str, object]:
        """Returns the counts, and the latencies in milliseconds."""
        p50, p99, worst = (1000 * np.percentile(self._latencies, (50, 99, 100))).round(1).tolist()
        return {
            "asked": self._asked,
            "lost": dict(self._lost),
            "wrong": self._wrong,
            "p50_ms": p50,
            "p99_ms": p99,
            "max_ms": worst,
        }


def main() -> None:
    honest = Honest(int(sys.argv[1]))
    print("ready", flush=True)
    uvloop.run(honest.ask_for(float(sys.argv[2])))
    print(json.dumps(honest.outcome()))


if __name__ == "__main__":
    main()
