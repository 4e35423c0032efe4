"""One invalid body of 8 MB for each route: how soon it is refused, and what it does to everybody else.

    python -m benchmarks.invalid_bodies

The service runs with its defaults. Beside the bodies, /v2/health/live is asked every few milliseconds.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from benchmarks.measuring import ROOT, save, show

sys.path.append(str(ROOT / "tests"))
sys.path.append(str(ROOT / "tests" / "service"))
from running import running_server
from test_limits import INVALID, megabytes

_TIMES = 5
_PAUSE = 0.003
_JSON = {"Content-Type": "application/json"}


def main() -> None:
    """Prints a table and writes benchmarks/results/invalid_bodies.json."""
    with running_server() as (client, process):
        rows = [_row(client, process.pid, path, body) for path, body in INVALID.items()]
    columns = ["route", "status", "slowest, ms", "slowest health, ms", "MB more", "MB kept"]
    show(f"An invalid body of 8 MB, {_TIMES} times each", columns, rows)
    save("invalid_bodies", {"routes": [dict(zip(columns, row, strict=True)) for row in rows]})


def _row(client: httpx.Client, process: int, path: str, body: bytes) -> list[Any]:
    before, most, slowest, statuses = megabytes(process), 0.0, 0.0, set()
    with _health_asked(client) as waits:
        for _ in range(_TIMES):
            started = time.perf_counter()
            statuses.add(client.post(path, content=body, headers=_JSON).status_code)
            slowest = max(slowest, time.perf_counter() - started)
            most = max(most, megabytes(process))
    kept = megabytes(process) - before
    (status,) = statuses
    return [path, status, 1000 * slowest, 1000 * max(waits), most - before, kept]


@contextmanager
def _health_asked(client: httpx.Client) -> Iterator[list[float]]:
    """Asks for health all the while; the list has how long each answer took, in seconds."""
    waits: list[float] = []
    ends = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url) as own:
            while not ends.wait(_PAUSE):
                started = time.perf_counter()
                own.get("/v2/health/live").raise_for_status()
                waits.append(time.perf_counter() - started)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield waits
    finally:
        ends.set()
        asking.join()


if __name__ == "__main__":
    main()
