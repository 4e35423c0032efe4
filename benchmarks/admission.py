"""How many predictions may be in progress: a fixed number, or as many as can be answered in time.

    python -m benchmarks.admission     (environment of benchmarks.peers: the service's own)

Servers with other settings stand side by side and take turns at constant rates, so that a machine whose speed
changes treats them alike. Answers count within 100 ms of when they were due; means over the rounds.
"""

import os
import statistics
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import typer
import uvloop

from benchmarks.measuring import save, show
from benchmarks.peers.levels import rate_of
from benchmarks.peers.servers import CACHE, running

DEADLINE = 0.1
SETTINGS = {
    "128": {"WHITEBOX_MAX_REQUESTS": "128", "WHITEBOX_TARGET_LATENCY_MS": "0"},
    "48": {"WHITEBOX_MAX_REQUESTS": "48", "WHITEBOX_TARGET_LATENCY_MS": "0"},
    "32 to 128, 50 ms": {"WHITEBOX_MAX_REQUESTS": "128", "WHITEBOX_TARGET_LATENCY_MS": "50"},
}
_SHOWN = (("200", "p50_ms"), ("200", "p99_ms"), ("429", "p99_ms"))
Outcome = dict[str, Any]


def main(
    rates: Annotated[str, typer.Option(help="Requests a second, with commas.")] = "1500,3600,4400",
    seconds: int = 4,
    rounds: int = 6,
    venvs: Annotated[Path, typer.Option(help="Directory of the peers' environments.")] = CACHE,
) -> None:
    """Compare settings of the admission control."""
    outcomes: defaultdict[tuple[int, str], list[Outcome]] = defaultdict(list)
    with ExitStack() as stack:
        servers = {}
        for name, settings in SETTINGS.items():
            with mock.patch.dict(os.environ, settings):
                servers[name] = stack.enter_context(running("ours", venvs))
        for _ in range(rounds):
            for rate in map(int, rates.split(",")):
                for name, server in servers.items():
                    outcomes[rate, name].append(uvloop.run(rate_of(server, rate, seconds, DEADLINE)))
    rows = [[f"{rate:,}", name, *_row(found)] for (rate, name), found in sorted(outcomes.items())]
    columns = ["offered/s", "in progress", "in time/s", "worst round", "p50 ms", "p99 ms", "p99 ms of 429"]
    show(f"within {1000 * DEADLINE:.0f} ms, {rounds} rounds of {seconds} s", columns, rows)
    save("admission", {"deadline_s": DEADLINE, "seconds": seconds, "columns": columns, "rows": rows})


def _row(found: list[Outcome]) -> list[str]:
    good = [each["goodput"] for each in found]
    latencies = [statistics.mean(_latencies(found, *which)) for which in _SHOWN]
    return [f"{statistics.mean(good):,.0f}", f"{min(good):,.0f}", *(f"{each:.0f}" for each in latencies)]


def _latencies(found: list[Outcome], status: str, quantile: str) -> list[float]:
    return [each["by_status"].get(status, {quantile: 0.0})[quantile] for each in found]


if __name__ == "__main__":
    typer.run(main)
