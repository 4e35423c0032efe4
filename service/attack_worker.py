"""The process that runs attacks, one at a time: `python -m service.attack_worker PACKAGE...`.

The only part of the service that imports torch. It speaks JSON lines: a job or {"cancel": true} on
standard input; {"ready": true}, then {"progress"}, {"result"} or {"error"} on standard output.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import torch

from model.artifact import read_package
from model.attacks.metered import Limits
from model.attacks.settings import AttackSettings
from model.attacks.single import attack_image
from model.frozen import FrozenNetwork
from model.network import WhiteBoxNetwork

_SECONDS_BETWEEN_PROGRESS = 0.1

Say = Callable[[dict[str, Any]], None]


def main(packages: list[str]) -> None:
    """Loads the packages' networks and runs jobs until standard input ends."""
    torch.set_num_threads(1)
    say = _private_stdout()
    networks = {}
    for directory in packages:
        package = read_package(Path(directory))
        networks[package.name] = WhiteBoxNetwork.from_package(package).freeze()
    jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs, cancelled), daemon=True).start()
    say({"ready": True})
    while (job := jobs.get()) is not None:
        cancelled.clear()
        try:
            say({"result": _attack(networks[job["model"]], job, cancelled, say)})
        except Exception as error:  # the job fails, the worker goes on
            say({"error": f"{type(error).__name__}: {error}"})


def _attack(
    network: FrozenNetwork, job: dict[str, Any], cancelled: threading.Event, say: Say
) -> dict[str, Any]:
    image = torch.tensor(job["image"], dtype=torch.float32).view(1, 1, 28, 28)
    limits = Limits(
        query_budget=job["query_budget"],
        deadline=time.monotonic() + job["seconds"],
        cancelled=cancelled.is_set,
    )
    settings = AttackSettings(**job["settings"])
    result = attack_image(network, image, job["true_class"], settings, limits, _reporter(say))
    return {
        "success": result.success,
        "image": result.image.flatten().tolist(),
        "distance": {
            "linf": result.distance.linf,
            "l2": result.distance.l2,
            "l0": result.distance.l0,
        },
        "queries": result.queries,
        "stopped_by": result.stopped_by,
    }


def _reporter(say: Say) -> Callable[[int, float], None]:
    last = time.monotonic()

    def report(queries: int, margin: float) -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS_BETWEEN_PROGRESS:
            last = time.monotonic()
            say({"progress": {"queries": queries, "margin": margin}})

    return report


def _listen(stdin: BinaryIO, jobs: "queue.Queue[dict[str, Any] | None]", cancelled: threading.Event) -> None:
    for line in stdin:
        message = orjson.loads(line)
        if message.get("cancel"):
            cancelled.set()
        else:
            jobs.put(message)
    cancelled.set()  # the service is gone: nobody waits
    jobs.put(None)


def _private_stdout() -> Say:
    """Keeps standard output for messages; whatever a library prints goes to standard error."""
    private = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            private.write(orjson.dumps(message) + b"\n")
            private.flush()

    return say


if __name__ == "__main__":
    main(sys.argv[1:])
