"""A great many predictions of our service, each compared with onnxruntime, while all goes on that may in use.

At the same time: the model is loaded again, workers are killed, attacks run, clients leave in the middle of a
request or before its answer. A prediction is lost if its connection breaks or its answer is not 200, and
wrong if a logit differs by more than 1e-5.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from rich.progress import Progress

from benchmarks.measuring import save, show
from benchmarks.peers.catalogue import LABELS, MODEL
from benchmarks.peers.servers import Server, digits, megabytes_of, offline, process_tree, running
from benchmarks.peers.wire import Answer, connect, post

BATCH, CONNECTIONS = 8, 8
RELOAD_SECONDS, KILL_SECONDS, LEAVE_SECONDS, MEMORY_SECONDS = 2.0, 10.0, 0.1, 2.0
WARM_UP = 0.1  # of all predictions; memory grows until every buffer has been used once


@dataclass
class Tally:
    """What happened.

    Attributes:
        asked, right, lost, wrong: Predictions.
        other: What became of everything else, by its kind and status.
        memory: Predictions asked so far and resident megabytes of the serving process.
    """

    asked: int = 0
    right: int = 0
    lost: int = 0
    wrong: int = 0
    lost_by_status: Counter[str] = field(default_factory=Counter)
    worst_difference: float = 0.0
    other: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, float]] = field(default_factory=list)


def run(environments: Path, predictions: int, seed: int) -> None:
    """Runs it, prints and saves what was seen."""
    tally = Tally()
    with running("ours", environments) as server:
        started = time.perf_counter()
        uvloop.run(_soak(server, predictions, tally, random.Random(seed)))
        duration = time.perf_counter() - started
        lines = server.log.read_text().splitlines()
        errors_in_log = sum('"level":"error"' in line or "Traceback" in line for line in lines)
    settled = next(megabytes for asked, megabytes in tally.memory if asked >= WARM_UP * predictions)
    found = {
        "predictions": tally.asked,
        "right": tally.right,
        "lost": tally.lost,
        "lost_by_status": dict(tally.lost_by_status),
        "wrong": tally.wrong,
        "worst_difference": f"{tally.worst_difference:.1e}",
        "errors_in_log": errors_in_log,
        "duration_s": round(duration, 1),
        "megabytes_at_start": tally.memory[0][1],
        "megabytes_after_warm_up": settled,
        "megabytes_at_end": tally.memory[-1][1],
        "megabytes_growth": round(tally.memory[-1][1] - settled, 1),
        **{f"other: {kind}": count for kind, count in sorted(tally.other.items())},
    }
    show("Soak", ["what", "value"], [[key, value] for key, value in found.items()])
    save("peers_soak", {"seed": seed, **found, "memory": tally.memory})


async def _soak(server: Server, predictions: int, tally: Tally, chance: random.Random) -> None:
    images = digits()
    starts = range(0, len(images), BATCH)
    session = offline()
    expected = [session.run(["logits"], {"image": images[at : at + BATCH]})[0] for at in starts]
    lists = images[:, 0].tolist()
    requests = [post("/v1/predict", json.dumps({"images": lists[at : at + BATCH]}).encode()) for at in starts]
    troubles = (
        _every(RELOAD_SECONDS, lambda: _reload(server, tally)),
        _every(KILL_SECONDS, lambda: _kill_a_worker(server, tally, chance)),
        _every(0.0, lambda: _attack(server, tally, lists[chance.randrange(len(lists))])),
        _every(LEAVE_SECONDS, lambda: _leave(server, tally, chance.choice(requests), chance)),
        _every(MEMORY_SECONDS, lambda: _remember(server, tally)),
    )
    await _remember(server, tally)
    running_troubles = [asyncio.create_task(trouble) for trouble in troubles]
    with Progress() as progress:
        bar = progress.add_task("predictions", total=predictions)
        askers = (
            _ask_on(
                server.port,
                requests,
                expected,
                predictions,
                tally,
                lambda: progress.update(bar, completed=tally.asked),
            )
            for _ in range(CONNECTIONS)
        )
        await asyncio.gather(*askers)
    for trouble in running_troubles:
        trouble.cancel()
    for outcome in await asyncio.gather(*running_troubles, return_exceptions=True):
        if not isinstance(outcome, asyncio.CancelledError):
            raise AssertionError("a trouble ended before the predictions did") from outcome
    await _remember(server, tally)


async def _ask_on(
    port: int,
    requests: list[bytes],
    expected: list[np.ndarray],
    predictions: int,
    tally: Tally,
    tell: Callable[[], None],
) -> None:
    connection = await connect(port)
    while tally.asked < predictions:
        index = tally.asked // BATCH % len(requests)
        tally.asked += BATCH
        answer = await connection.ask(requests[index])
        compare_with(expected[index], answer, tally)
        if not connection.open:
            connection = await connect(port)
        tell()


def compare_with(expected: np.ndarray, answer: Answer | None, tally: Tally) -> None:
    """Counts the predictions of an answer as right, wrong or lost."""
    if answer is None or answer.status != 200:
        tally.lost += BATCH
        tally.lost_by_status[str(answer.status) if answer else "connection lost"] += BATCH
        return
    found = [
        [prediction["logits"][str(label)] for label in LABELS]
        for prediction in json.loads(answer.body)["predictions"]
    ]
    differences = np.abs(np.array(found) - expected).max(axis=1)
    tally.worst_difference = max(tally.worst_difference, float(differences.max()))
    right = int((differences <= 1e-5).sum())  # not so of NaN
    tally.right += right
    tally.wrong += BATCH - right


async def _every(seconds: float, trouble: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        with suppress(OSError):  # of a connection that cannot be opened; predictions will tell
            await trouble()


async def _ask_once(port: int, request: bytes) -> str:
    connection = await connect(port)
    answer = await connection.ask(request)
    connection.transport.abort()
    return str(answer.status) if answer else "connection lost"


async def _reload(server: Server, tally: Tally) -> None:
    status = await _ask_once(server.port, post(f"/v2/repository/models/{MODEL}/load", b"{}"))
    assert status == "200", f"a reload was answered {status}"
    tally.other["reload 200"] += 1


async def _attack(server: Server, tally: Tally, image: list[list[float]]) -> None:
    body: dict[str, Any] = {"images": [image], "attack": "pgd", "norm": "linf", "epsilon": 0.3}
    status = await _ask_once(server.port, post("/v1/attack", json.dumps(body).encode()))
    tally.other[f"attack {status}"] += 1


async def _kill_a_worker(server: Server, tally: Tally, chance: random.Random) -> None:
    workers = [pid for pid in process_tree(server.pid)[1:] if _is_worker(pid)]
    if workers:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(workers), signal.SIGKILL)
            tally.other["worker killed"] += 1


def _is_worker(pid: int) -> bool:
    with suppress(OSError):
        return b"service.workers.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def _leave(server: Server, tally: Tally, request: bytes, chance: random.Random) -> None:
    """Leaves in the middle of a request, or after it and before the answer."""
    connection = await connect(server.port)
    half = chance.random() < 0.5
    connection.transport.write(request[: len(request) // 2] if half else request)
    await asyncio.sleep(chance.random() * 0.01)
    connection.transport.abort()
    tally.other["left amid the request" if half else "left before the answer"] += 1


async def _remember(server: Server, tally: Tally) -> None:
    tally.memory.append((tally.asked, round(megabytes_of(server.pid, "Rss"), 1)))
