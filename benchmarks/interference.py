"""What predictions suffer while the service does other work: attacks, certificates, large requests.

    python -m benchmarks.interference     (needs wrk: apt-get install wrk)

One server; predictions over 1 and 4 connections (wrk) and at a constant rate, while nothing else is asked and
while clients keep the pool of attacks, that of certificates, or both cores busy. In each round the kinds take
turns; medians are printed, and how often the idle p99 goes into the other.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import typer
import uvloop

from benchmarks.measuring import save, show
from benchmarks.peers.catalogue import MODEL
from benchmarks.peers.levels import connections_of, rate_of
from benchmarks.peers.servers import Server, digits, running
from benchmarks.peers.tensors import body_of_tensors

RATE, DEADLINE = 1000, 0.1
CONNECTIONS = (1, 4)
CLIENTS = 4  # that attack or certify at once: one worker each, so three wait in its queue
Ask = Callable[[httpx.Client], httpx.Response]


def attack(client: httpx.Client) -> httpx.Response:
    body = {"images": [digits()[0, 0].tolist()], "attack": "square", "epsilon": 0.01, "steps": 5000}
    return client.post("/v1/attack", json=body)


def certify(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/certify", json={"images": digits()[:64, 0].tolist(), "epsilon": 0.1})


def infer_256(client: httpx.Client) -> httpx.Response:
    body, headers = body_of_tensors(digits()[:256])
    return client.post(f"/v2/models/{MODEL}/infer", content=body, headers=headers)


KINDS: dict[str, tuple[Ask, int]] = {
    "nothing else": (attack, 0),
    "attacks": (attack, CLIENTS),
    "certificates": (certify, CLIENTS),
    "256 images a request": (infer_256, 1),
}


@contextmanager
def busy(server: Server, kind: str) -> Iterator[list[int]]:
    """Keeps a server busy; yields the statuses of its answers."""
    stop, statuses = threading.Event(), []

    def ask_again(ask: Ask) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=300) as client:
            while not stop.is_set():
                statuses.append(ask(client).status_code)

    ask, count = KINDS[kind]
    threads = [threading.Thread(target=ask_again, args=(ask,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def measure(server: Server, seconds: int) -> dict[str, Any]:
    found: dict[str, Any] = {f"c={each}": connections_of(server, each, seconds) for each in CONNECTIONS}
    found[f"{RATE}/s"] = uvloop.run(rate_of(server, RATE, seconds, DEADLINE))
    return found


def main(seconds: int = 5, rounds: int = 3, seed: int = 0, venvs: Path = Path("/tmp")) -> None:
    """Prints the table and writes benchmarks/results/interference.json."""
    every: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    order = random.Random(seed)
    with running("ours", venvs) as server:
        for _ in range(rounds):
            for kind in order.sample(list(KINDS), len(KINDS)):
                with busy(server, kind) as statuses:
                    found = measure(server, seconds)
                assert set(statuses) <= {200}, statuses
                every[kind].append({**found, "others_answered": len(statuses)})
    levels = [key for key in every["attacks"][0] if key != "others_answered"]
    p99 = {
        kind: {level: statistics.median(one[level]["p99_ms"] for one in found) for level in levels}
        for kind, found in every.items()
    }
    idle = p99["nothing else"]
    rows = [
        [kind, *(f"{each[level]:.2f} ({each[level] / idle[level]:.2f})" for level in levels)]
        for kind, each in p99.items()
    ]
    show("p99 in ms of predictions (times the idle one)", ["meanwhile", *levels], rows)
    save("interference", {"seconds": seconds, "rounds": rounds, "p99_ms": p99, "every": every})


if __name__ == "__main__":
    typer.run(main)
