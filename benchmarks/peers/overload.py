"""Twice the load that a server can bear, for a minute: what it still does, and how soon it is well again.

What it can bear is the highest constant rate at which 99% of the requests are answered 200 within the
deadline, found by bisection with the same client that then asks twice as much: it needs the same cores, and
asking for more takes more of them from the server. The same is done with twice what wrk, a cheaper client,
gets through 64 connections. When the load ends a probe asks ten times a second, each time on a new
connection, until the server is as quick as when idle: all probes of one second answered 200 and their median
within twice the idle one's.
"""

import asyncio
import math
import statistics
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.measuring import save_servers, show
from benchmarks.peers.levels import connections_of, image_of, rate_of
from benchmarks.peers.open_loop import OpenLoop
from benchmarks.peers.servers import Server, running
from benchmarks.peers.wire import connect, post

CONNECTIONS, TIMES, PROBES = 64, 2, 10
_BORNE, _STEPS = 0.99, 5
_IDLE_SECONDS, _MOST_RECOVERY_SECONDS, _PROBE_SECONDS = 3, 60, 5


def compare(names: list[str], environments: Path, duration: int, seconds: int, deadline: float) -> None:
    """Overloads each server, prints and saves what was seen."""
    results = {}
    for name in names:
        with running(name, environments) as server:
            idle = uvloop.run(_idle(server))
            closed = connections_of(server, CONNECTIONS, seconds)["requests_per_second"]
            borne = uvloop.run(_borne(server, closed, seconds, deadline))
            for kind, capacity in (("bears", borne), ("wrk", closed)):
                found = uvloop.run(_overload(server, capacity, idle, duration, deadline))
                results[f"{name}, {kind}"] = {"capacity": capacity, "idle_ms": 1000 * idle, **found}
    columns = [
        "server",
        "capacity/s",
        "goodput",
        "p99 ms",
        "429",
        "p99 ms of 429",
        "recovered, s",
        "MB",
    ]
    show(
        f"{TIMES} times its capacity for {duration} s, deadline {1000 * deadline:.0f} ms",
        columns,
        [_row(name, found) for name, found in results.items()],
    )
    save_servers("peers_overload", {"duration_s": duration, "deadline_s": deadline}, results)


async def _borne(server: Server, closed: float, seconds: float, deadline: float) -> float:
    """Returns the highest rate found that the server bears, from half of the closed loop's to all of it."""
    low, high = closed / 2, closed
    for _ in range(_STEPS):
        rate = (low + high) / 2
        found = await rate_of(server, rate, seconds, deadline)
        low, high = (rate, high) if found["goodput"] >= _BORNE * rate else (low, rate)
    return low


async def _overload(
    server: Server, capacity: float, idle: float, duration: int, deadline: float
) -> dict[str, Any]:
    load = OpenLoop(server.port, post(server.peer.path, image_of(server)))
    megabytes: list[int] = []
    watch = asyncio.create_task(_watch_memory(server, megabytes))
    await load.offer(TIMES * capacity, duration)
    load.give_up_waiting()
    recovery, _ = await asyncio.gather(_until_recovered(server, 2 * idle), load.finish(5))
    watch.cancel()
    outcome = load.outcome(deadline)
    refused = outcome["by_status"].get("429", {"count": 0})["count"]
    return {
        "goodput_of_capacity": outcome["goodput"] / capacity,
        "share_of_429": refused / int(TIMES * capacity * duration),
        "recovery_s": recovery,
        "megabytes_each_second": megabytes,
        **outcome,
    }


async def _idle(server: Server) -> float:
    """Returns the median latency of probes while nothing else is asked."""
    latencies = [latency for _ in range(_IDLE_SECONDS) for latency in await _probes(server)]
    return statistics.median(latencies)


async def _until_recovered(server: Server, quick: float) -> int | None:
    """Returns the first second whose probes were all answered, half of them as quickly as that."""
    seconds: list[asyncio.Task[list[float]]] = []
    try:
        for _ in range(_MOST_RECOVERY_SECONDS):
            seconds.append(asyncio.create_task(_probes(server)))
            await asyncio.sleep(1)  # the next ones do not wait for answers to these
            for number, probes in enumerate(seconds, 1):
                if probes.done() and statistics.median(probes.result()) <= quick:
                    return number
        return None
    finally:
        for probes in seconds:
            probes.cancel()


async def _probes(server: Server) -> list[float]:
    """Probes for a second; one that fails counts as endless."""
    request = post(server.peer.path, image_of(server))
    tasks = []
    for _ in range(PROBES):
        tasks.append(asyncio.create_task(_probe(server.port, request)))
        await asyncio.sleep(1 / PROBES)
    latencies = await asyncio.gather(*tasks)
    return latencies if math.inf not in latencies else [math.inf]


async def _probe(port: int, request: bytes) -> float:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            connection = await connect(port)
            answer = await connection.ask(request)
    except (OSError, TimeoutError):
        return math.inf
    connection.transport.abort()
    return time.perf_counter() - started if answer is not None and answer.status == 200 else math.inf


async def _watch_memory(server: Server, megabytes: list[int]) -> None:
    while True:
        megabytes.append(round(await asyncio.to_thread(server.megabytes)))
        await asyncio.sleep(1)


def _row(name: str, found: dict[str, Any]) -> list[Any]:
    refused = found["by_status"].get("429", {"p99_ms": "-"})
    memory = found["megabytes_each_second"]
    return [
        name,
        f"{found['capacity']:,.0f}",
        f"{found['goodput_of_capacity']:.1%}",
        found["p99_ms"],
        f"{found['share_of_429']:.1%}",
        refused["p99_ms"],
        "not in a minute" if found["recovery_s"] is None else found["recovery_s"],
        f"{memory[0]} to {max(memory)}",
    ]
