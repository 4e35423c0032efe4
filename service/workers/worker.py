"""The process that attacks and certifies, one job at a time: `python -m service.workers.worker PACKAGE...`.

The only part of the service that imports torch. It speaks JSON lines: a job or {"cancel": true} on
standard input; {"ready": true}, then {"progress"}, {"result"} or {"error"} on standard output.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import torch

from model.attacks.ball import distance
from model.attacks.budget import Budget
from model.attacks.settings import AttackSettings
from model.attacks.single import attack_image
from model.network import WhiteBoxNetwork
from model.package import read_package
from model.verification.result import VerificationResult
from model.verification.verify import SearchPolicy, Verifier

_SECONDS_BETWEEN_PROGRESS = 0.1
# Models replaced while the service runs stay until so many others have come.
_MOST_MODELS = 32

Say = Callable[[dict[str, Any]], None]


class Models:
    """The networks in use with their verifiers, loaded when they are first asked for."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], Verifier] = {}

    def load(self, directory: str) -> str:
        """Opens the package that is now in a directory and returns its digest."""
        package = read_package(Path(directory))
        network = WhiteBoxNetwork.from_package(package).freeze()
        self._models[directory, package.digest] = Verifier(network)
        if len(self._models) > _MOST_MODELS:
            self._models.pop(next(iter(self._models)))
        return package.digest

    def get(self, directory: str, digest: str) -> Verifier:
        """Returns the network of a package.

        Raises:
            ValueError: The directory holds another one now.
        """
        if (directory, digest) not in self._models and self.load(directory) != digest:
            raise ValueError(f"{directory} holds another model by now")
        return self._models[directory, digest]


def main(packages: list[str]) -> None:
    """Loads the packages' networks and runs jobs until standard input ends."""
    torch.set_num_threads(1)
    say = _private_stdout()
    models = Models()
    for directory in packages:
        models.load(directory)
    jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs, cancelled), daemon=True).start()
    say({"ready": True})
    while (job := jobs.get()) is not None:
        cancelled.clear()
        try:
            say(
                {"result": _WORK[job["work"]](models.get(job["package"], job["digest"]), job, cancelled, say)}
            )
        except Exception as error:  # the job fails, the worker goes on
            say({"error": f"{type(error).__name__}: {error}"})


def _attack(verifier: Verifier, job: dict[str, Any], cancelled: threading.Event, say: Say) -> dict[str, Any]:
    image = _images([job["image"]])
    budget = Budget(
        queries=job["query_budget"],
        deadline=time.monotonic() + job["seconds"],
        cancelled=cancelled.is_set,
    )
    settings = AttackSettings(**job["settings"])
    result = attack_image(verifier.network, image, job["true_class"], settings, budget, _reporter(say))
    return {
        "success": result.success,
        "image": result.image.flatten().tolist(),
        "distance": asdict(result.distance),
        "queries": result.queries,
        "stopped_by": result.stopped_by,
    }


def _certify(
    verifier: Verifier, job: dict[str, Any], cancelled: threading.Event, _say: Say
) -> dict[str, Any]:
    images = _images(job["images"])
    budget = Budget(deadline=time.monotonic() + job["seconds"], cancelled=cancelled.is_set)
    policy = SearchPolicy(attack=job["counterexample"], radius=job["radius"])
    results = verifier.verify(images, torch.tensor(job["true_classes"]), job["epsilon"], policy, budget)
    return {"assessments": [_plain(one, image) for one, image in zip(results, images, strict=True)]}


def _images(pixels: list[list[float]]) -> torch.Tensor:
    """Returns (N, 1, 28, 28); numpy reads nested lists faster than torch."""
    return torch.from_numpy(np.array(pixels, np.float32)).view(-1, 1, 28, 28)


def _plain(result: VerificationResult, image: torch.Tensor) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "verdict": result.verdict,
        "margin_lower_bound": result.margin_lower_bound,
    }
    if result.certified_radius is not None:
        plain["certified_radius"] = result.certified_radius
    if result.counterexample is not None:
        plain["counterexample"] = {
            "image": result.counterexample.flatten().tolist(),
            "distance": asdict(distance(image, result.counterexample[0])),
        }
    return plain


_WORK: dict[str, Callable[[Verifier, dict[str, Any], threading.Event, Say], dict[str, Any]]] = {
    "attack": _attack,
    "certify": _certify,
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
