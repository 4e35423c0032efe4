"""256 images as binary tensors of the Open Inference Protocol beside onnxruntime in a loop without a server.

For the bare loop on one thread the better counts of one run of 256 and of pieces of 8, which stay in the
cache (benchmarks/inference.py). Our service shares a large request among the cores, so pieces of 8 in two
threads are shown too. In each round every contender has its turn; medians are reported.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import uvloop

from benchmarks.measuring import save_servers, show
from benchmarks.peers.catalogue import MODEL, PEERS
from benchmarks.peers.servers import Server, digits, offline, running
from benchmarks.peers.wire import Answer, Connection, connect, post

IMAGES, PIECE, CONNECTIONS = 256, 8, (1, 2, 4)
TWO_THREADS = "bare, pieces of 8 in two threads"
_PAUSE = 0.005  # seconds, after a 429
Rates = dict[str, float]


def compare(names: list[str], environments: Path, seconds: float, rounds: int) -> None:
    """Measures the servers that speak binary tensors; prints images a second and the ratio."""
    images = np.ascontiguousarray(digits()[:IMAGES])
    results = {}
    for name in (name for name in names if PEERS[name].binary):
        with running(name, environments) as server:
            results[name] = uvloop.run(_measure(server, images, seconds, rounds))
    show(
        f"{IMAGES} images as binary tensors, images/s",
        [
            "server",
            *(f"c={each}" for each in CONNECTIONS),
            "bare loop",
            "bare, 2 threads",
            *(f"ratio c={each}" for each in CONNECTIONS),
        ],
        [_row(name, found) for name, found in results.items()],
    )
    save_servers("peers_tensors", {"seconds": seconds, "rounds": rounds}, results)


async def _measure(server: Server, images: np.ndarray, seconds: float, rounds: int) -> dict[str, Any]:
    session = offline()
    expected = _in_pieces(session, images)
    request = post(f"/v2/models/{MODEL}/infer", *body_of_tensors(images))
    answer = await (await connect(server.port)).ask(request)
    if answer is None or answer.status != 200:
        return {"refused": f"answered {answer.status}" if answer else "did not answer"}
    assert np.abs(_logits(answer) - expected).max() < 1e-5, "other logits than onnxruntime's"
    every: dict[str, list[float]] = {}
    pool = ThreadPoolExecutor(2)
    for _ in range(rounds):
        every.setdefault("bare, 256 at once", []).append(
            _bare(lambda: session.run(["logits"], {"image": images}), seconds)
        )
        every.setdefault("bare, pieces of 8", []).append(_bare(lambda: _in_pieces(session, images), seconds))
        every.setdefault(TWO_THREADS, []).append(
            _bare(lambda: _in_two_threads(session, images, pool), seconds)
        )
        for count in CONNECTIONS:
            # New ones: a server may close what was idle while the bare loop ran.
            connections = [await connect(server.port) for _ in range(count)]
            rate = await _through(connections, request, seconds)
            every.setdefault(f"c={count}", []).append(rate)
    return {kind: statistics.median(rates) for kind, rates in every.items()} | {"rounds": every}


def body_of_tensors(images: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """Returns the body and headers that ask for the logits of images as binary tensors."""
    raw = images.astype("<f4").tobytes()
    tensor = {
        "name": "image",
        "shape": list(images.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    return header + raw, {"Content-Type": "application/octet-stream", **length}


def _logits(answer: Answer) -> np.ndarray:
    length = int(answer.headers[b"inference-header-content-length"])
    (output,) = json.loads(answer.body[:length])["outputs"]
    return np.frombuffer(answer.body[length:], "<f4").reshape(output["shape"])


def _in_pieces(session: ort.InferenceSession, images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), PIECE)
    return np.concatenate([session.run(["logits"], {"image": images[at : at + PIECE]})[0] for at in starts])


def _in_two_threads(session: ort.InferenceSession, images: np.ndarray, pool: Executor) -> np.ndarray:
    halves = np.split(images, 2)
    return np.concatenate(list(pool.map(lambda half: _in_pieces(session, half), halves)))


def _bare(work: Callable[[], Any], seconds: float) -> float:
    started, runs = time.perf_counter(), 0
    while time.perf_counter() < started + seconds:
        work()
        runs += 1
    return runs * IMAGES / (time.perf_counter() - started)


async def _through(connections: list[Connection], request: bytes, seconds: float) -> float:
    started, answered = time.perf_counter(), 0

    async def ask_on(connection: Connection) -> None:
        nonlocal answered
        while time.perf_counter() < started + seconds:
            answer = await connection.ask(request)
            assert answer is not None, "the connection broke"
            if answer.status == 429:  # four such requests are more than our service lets wait
                await asyncio.sleep(_PAUSE)
                continue
            assert answer.status == 200, answer.body
            answered += 1

    await asyncio.gather(*map(ask_on, connections))
    return answered * IMAGES / (time.perf_counter() - started)


def _row(name: str, found: dict[str, Any]) -> list[Any]:
    if "refused" in found:
        return [name, found["refused"], *[""] * (2 * len(CONNECTIONS) + 1)]
    bare = max(found["bare, 256 at once"], found["bare, pieces of 8"])
    rates = [found[f"c={count}"] for count in CONNECTIONS]
    return [
        name,
        *(f"{rate:,.0f}" for rate in (*rates, bare, found[TWO_THREADS])),
        *(f"{rate / bare:.3f}" for rate in rates),
    ]
