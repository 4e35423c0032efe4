"""The process that attacks and certifies, `python -P -m service.workers.worker`.

The only part of the service that imports torch. It speaks JSON lines: a message of `service.workers.messages`
or {"cancel": true} on standard input; {"ready": true}, then {"progress"}, {"result"}, {"error"} or
{"package_error"} on standard output. A model is loaded when it is first asked for: one that cannot be takes
nothing from the others.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from model.package import ModelPackage, PackageError, read_package
from model.plugins import load_plugin
from model.verification.result import VerificationResult
from model.verification.typicality_bounds import TypicalityBounds
from model.verification.verify import SearchPolicy, Verifier

_SECONDS_BETWEEN_PROGRESS = 0.1
# The model that was loaded first makes room for the next.
_MOST_MODELS = 32

Send = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Model:
    """A network's verifier, and the bounds of its typicality score where its package has what they need."""

    verifier: Verifier
    typicality: TypicalityBounds | None

    @classmethod
    def of(cls, package: ModelPackage) -> "Model":
        """Loads a package's network.

        Raises:
            PackageError: It is damaged.
        """
        verifier = Verifier(WhiteBoxNetwork.from_package(package).freeze())
        return cls(verifier, TypicalityBounds.of(verifier.bounds, package))


class Models:
    """The models in use, loaded when they are first asked for."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], Model] = {}

    def load(self, directory: str) -> str:
        """Opens the package that is now in a directory and returns its digest.

        Raises:
            PackageError: It is damaged.
        """
        package = read_package(Path(directory))
        self._models[directory, package.digest] = Model.of(package)
        if len(self._models) > _MOST_MODELS:
            self._models.pop(next(iter(self._models)))
        return package.digest

    def get(self, directory: str, digest: str) -> Model:
        """Returns the model of a package.

        Raises:
            PackageError: It is damaged, or the directory holds another one now.
        """
        if (directory, digest) not in self._models and self.load(directory) != digest:
            raise PackageError(f"{directory} holds another model by now. Ask again.")
        return self._models[directory, digest]


def main() -> None:
    """Answers messages until standard input ends."""
    torch.set_num_threads(1)
    send = _private_stdout()
    models = Models()
    messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, messages, cancelled), daemon=True).start()
    send({"ready": True})
    while (message := messages.get()) is not None:
        try:
            model = models.get(message["package"], message["digest"])
            send({"result": _WORK[message["work"]](model, message, cancelled, send)})
        except PackageError as error:
            send({"package_error": str(error)})
        except Exception as error:  # this message failed, the worker goes on
            send({"error": f"{type(error).__name__}: {error}"})


def _attack(model: Model, message: dict[str, Any], cancelled: threading.Event, send: Send) -> dict[str, Any]:
    image = _images([message["image"]])
    budget = Budget(
        queries=message["query_budget"],
        deadline=time.monotonic() + message["seconds"],
        cancelled=cancelled.is_set,
    )
    for plugin in message["plugins"]:
        load_plugin(plugin)
    settings = AttackSettings(**message["settings"])
    network = model.verifier.network
    result = attack_image(network, image, message["true_class"], settings, budget, _reporter(send))
    return {
        "success": result.success,
        "image": result.image.squeeze().tolist(),
        "distance": asdict(result.distance),
        "queries": result.queries,
        "stopped_by": result.stopped_by,
    }


def _certify(
    model: Model, message: dict[str, Any], cancelled: threading.Event, _send: Send
) -> dict[str, Any]:
    images = _images(message["images"])
    budget = Budget(deadline=time.monotonic() + message["seconds"], cancelled=cancelled.is_set)
    policy = SearchPolicy(attack=message["counterexample"], radius=message["radius"])
    classes = torch.tensor(message["true_classes"])
    results = model.verifier.verify(images, classes, message["epsilon"], policy, budget)
    assessments = [_plain(one, image) for one, image in zip(results, images, strict=True)]
    for assessment, image in zip(assessments, images[:, None], strict=True):
        if model.typicality is not None and not budget.out_of_time():
            assessment["typicality_scores"] = model.typicality.score(image, message["epsilon"])
    return {"assessments": assessments}


def _images(pixels: list[list[list[float]]]) -> torch.Tensor:
    """Returns (N, 1, H, W); numpy reads nested lists faster than torch."""
    return torch.from_numpy(np.array(pixels, np.float32))[:, None]


def _plain(result: VerificationResult, image: torch.Tensor) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "verdict": result.verdict,
        "margin_lower_bound": result.margin_lower_bound,
    }
    if result.certified_radius is not None:
        plain["certified_radius"] = result.certified_radius
    if result.counterexample is not None:
        plain["counterexample"] = {
            "image": result.counterexample.squeeze().tolist(),
            "distance": asdict(distance(image, result.counterexample[0])),
        }
    return plain


_WORK: dict[str, Callable[[Model, dict[str, Any], threading.Event, Send], dict[str, Any]]] = {
    "attack": _attack,
    "certify": _certify,
}


def _reporter(send: Send) -> Callable[[int, float], None]:
    last = time.monotonic()

    def report(queries: int, margin: float) -> None:
        nonlocal last
        if time.monotonic() - last > _SECONDS_BETWEEN_PROGRESS:
            last = time.monotonic()
            send({"progress": {"queries": queries, "margin": margin}})

    return report


def _listen(
    stdin: BinaryIO, messages: "queue.Queue[dict[str, Any] | None]", cancelled: threading.Event
) -> None:
    for line in stdin:
        message = orjson.loads(line)
        if message.get("cancel"):
            cancelled.set()
        else:
            cancelled.clear()  # that was of the message before
            messages.put(message)
    cancelled.set()  # the service is gone: nobody waits
    messages.put(None)


def _private_stdout() -> Send:
    """Keeps standard output for messages; whatever a library prints goes to standard error."""
    private = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            private.write(orjson.dumps(message) + b"\n")
            private.flush()

    return send


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the service was killed: nobody waits, not for the thread that reads either
        os._exit(1)
