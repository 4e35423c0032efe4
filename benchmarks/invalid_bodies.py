"""One invalid body of 8 MB for each route: how soon it is refused, and what it does to everybody else.

    python -m benchmarks.invalid_bodies

The service runs with its defaults. Beside the bodies, /v2/health/live is asked every few milliseconds.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import httpx

from benchmarks.measuring import ROOT, save, show

sys.path.append(str(ROOT / "tests"))
sys.path.append(str(ROOT / "tests" / "service"))
from running import metric, running_server, until
from test_limits import INVALID, megabytes

_TIMES = 5
_PAUSE = 0.003
_JSON = {"Content-Type": "application/json"}


def main() -> None:
    """Prints a table and writes benchmarks/results/invalid_bodies.json."""
    with running_server() as (client, process):
        for pool in ("attacks", "certificates"):  # they load torch on the same cores
            until(lambda pool=pool: metric(client, "whitebox_workers", pool=pool), seconds=60)
        rows = [_row(client, process.pid, path, body) for path, body in INVALID.items()]
    columns = ["route", "status", "slowest, ms", "slowest health, ms", "MB more", "MB kept"]
    show(f"An invalid body of 8 MB, {_TIMES} times each", columns, rows)
    save("invalid_bodies", {"routes": [dict(zip(columns, row, strict=True)) for row in rows]})


def _row(client: httpx.Client, process: int, path: str, body: bytes) -> list[Any]:
    before, most, slowest, statuses = megabytes(process), 0.0, 0.0, set()
    with _health_asked(str(client.base_url)) as waits:
        for _ in range(_TIMES):
            started = time.perf_counter()
            statuses.add(client.post(path, content=body, headers=_JSON).status_code)
            slowest = max(slowest, time.perf_counter() - started)
            most = max(most, megabytes(process))
    kept = megabytes(process) - before
    (status,) = statuses
    return [path, status, 1000 * slowest, 1000 * waits[0], most - before, kept]


@contextmanager
def _health_asked(url: str) -> Iterator[list[float]]:
    """Asks for health all the while, in a process of its own; at the end the list has the slowest answer."""
    waits: list[float] = []
    ends, ends_there = Pipe()
    with ProcessPoolExecutor(1) as pool:
        asking = pool.submit(_slowest_health, url, ends_there)
        while not ends.poll(_PAUSE):
            if asking.done():
                asking.result()  # raises what ended it
        ends.recv()
        try:
            yield waits
        finally:
            ends.send(None)
            waits.append(asking.result())


def _slowest_health(url: str, ends: "Connection[None, None]") -> float:
    slowest = 0.0
    with httpx.Client(base_url=url) as client:
        client.get("/v2/health/live")
        ends.send(None)
        while not ends.poll(_PAUSE):
            started = time.perf_counter()
            client.get("/v2/health/live").raise_for_status()
            slowest = max(slowest, time.perf_counter() - started)
    return slowest


if __name__ == "__main__":
    main()
