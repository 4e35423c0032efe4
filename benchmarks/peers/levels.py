"""All servers at rising numbers of connections (wrk) and at rising constant rates (open loop)."""

import asyncio
import os
import random
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
import uvloop
from rich.console import Console

from benchmarks.measuring import save_servers, show
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.open_loop import OpenLoop
from benchmarks.peers.servers import Server, body_of, digits, running
from benchmarks.peers.wire import post
from benchmarks.serving import wrk_counting_failures

CONNECTIONS = (1, 16, 64, 256)
_FAILURES = (AssertionError, OSError, httpx.HTTPError, subprocess.SubprocessError)
Level = tuple[str, str, int]  # name of a peer, "connections" or "rate", how many
Found = dict[str, Any]


def compare(
    names: list[str],
    environments: Path,
    rates: list[int],
    seconds: int,
    rounds: int,
    deadline: float,
    seed: int,
) -> None:
    """Measures every server at every level in each round, in random order, and prints the medians."""
    kinds = [("connections", each) for each in CONNECTIONS] + [("rate", each) for each in rates]
    levels = [(name, kind, level) for name in names for kind, level in kinds]
    every: dict[Level, list[Found]] = {level: [] for level in levels}
    order = random.Random(seed)
    loads = []
    for round_number in range(1, rounds + 1):
        loads.append(round(os.getloadavg()[0], 2))
        for level in order.sample(levels, len(levels)):
            found = _one_level(level, environments, seconds, deadline)
            Console().print(f"round {round_number}: {_line(level, found)}", highlight=False)
            every[level].append(found)
        _report(names, rates, every, {"seconds": seconds, "rounds": round_number, "seed": seed,
                                      "deadline_s": deadline, "load_average": loads})  # fmt: skip


def image_of(server: Server) -> bytes:
    """Returns the one digit that all load consists of, as the server wants it."""
    return body_of(server.peer, digits()[0, 0].tolist())


async def rate_of(server: Server, rate: float, seconds: float, deadline: float) -> Found:
    """Offers a constant rate; returns the outcome with the memory before, amid and after the load."""
    load = OpenLoop(server.port, post(server.peer.path, image_of(server)))
    megabytes = [server.megabytes()]

    async def look_amid() -> None:
        await asyncio.sleep(seconds / 2)
        megabytes.append(await asyncio.to_thread(server.megabytes))

    await asyncio.gather(load.offer(rate, seconds), look_amid())
    await load.finish()
    return {**load.outcome(deadline), "megabytes": [round(each) for each in (*megabytes, server.megabytes())]}


def connections_of(server: Server, connections: int, seconds: int) -> Found:
    """Sends as fast as so many connections can."""
    with tempfile.TemporaryDirectory() as directory:
        body = Path(directory) / "body.json"
        body.write_bytes(image_of(server))
        found = wrk_counting_failures(server.url, connections, body, seconds)
    return {**found, "megabytes": [round(server.megabytes())]}


def _one_level(level: Level, environments: Path, seconds: int, deadline: float) -> Found:
    name, kind, amount = level
    try:
        with running(name, environments) as server:
            if kind == "connections":
                found = connections_of(server, amount, seconds)
            else:
                found = uvloop.run(rate_of(server, amount, seconds, deadline))
            return {**found, "first_answer_s": round(server.first_answer_s, 2)}
    except _FAILURES as error:  # one that breaks shall not end the comparison
        return {"failed_to_run": f"{type(error).__name__}: {error}"}


def _line(level: Level, found: Found) -> str:
    name, kind, amount = level
    rate = found.get("requests_per_second", found.get("goodput"))
    told = found.get("failed_to_run") or f"{rate:,.0f}/s, p99 {found['p99_ms']} ms"
    return f"{name}, {kind} {amount}: {told}"


def _report(names: list[str], rates: list[int], every: dict[Level, list[Found]], setting: Found) -> None:
    closed = [
        [name, *(_closed_cell(every[name, "connections", each]) for each in CONNECTIONS)] for name in names
    ]
    show("Closed loop: requests/s (p50, p99 ms)", ["server", *(f"c={each}" for each in CONNECTIONS)], closed)
    columns = [
        "server",
        "rate/s",
        "goodput/s",
        "p50 ms",
        "p99 ms",
        "429",
        "p99 of 429",
        "other",
        "no answer",
        "MB",
    ]
    rows = [_open_row(name, rate, every[name, "rate", rate]) for rate in rates for name in names]
    within = round(1000 * setting["deadline_s"])
    show(f"Open loop: answers 200 within {within} ms of the time when the request was due", columns, rows)
    results = {
        name: {
            kind: {str(each): every[name, kind, each] for each in amounts}
            for kind, amounts in (("connections", CONNECTIONS), ("rate", rates))
        }
        for name in names
    }
    pins = {name: PEERS[name].pins for name in names}
    save_servers("peers", {**setting, "pins": pins}, results)


def _closed_cell(rounds: list[Found]) -> str:
    done = [each for each in rounds if "failed_to_run" not in each]
    if not done:
        return "did not run"
    rate, p50, p99, failed = (
        statistics.median(each[key] for each in done)
        for key in ("requests_per_second", "p50_ms", "p99_ms", "failed")
    )
    return f"{rate:,.0f} ({p50:.3g}, {p99:.3g})" + (f" {failed:,.0f} failed" if failed else "")


def _open_row(name: str, rate: int, rounds: list[Found]) -> list[Any]:
    done = [each for each in rounds if "failed_to_run" not in each]
    if not done:
        return [name, rate, "did not run", *[""] * 7]
    refused = [each["by_status"].get("429", {"count": 0, "p99_ms": None}) for each in done]
    others = [
        sum(by["count"] for status, by in each["by_status"].items() if status not in ("200", "429"))
        for each in done
    ]
    lost = [each["unanswered"] + sum(each["errors"].values()) for each in done]
    memory = [statistics.median(column) for column in zip(*(each["megabytes"] for each in done), strict=True)]
    return [
        name,
        rate,
        _median([each["goodput"] for each in done]),
        _median([each["p50_ms"] for each in done]),
        _median([each["p99_ms"] for each in done]),
        _median([each["count"] for each in refused]),
        _median([each["p99_ms"] for each in refused]),
        _median(others),
        _median(lost),
        "/".join(f"{each:.0f}" for each in memory),
    ]


def _median(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):,.4g}" if known else "-"
