"""Which servers are compared: their pinned versions, how each is started, and its own JSON.

All run the same graph on onnxruntime's CPU provider with one thread, one worker, and no access log. Where
a server batches it forms up to 32 images, within 2 ms where its window can be set (not in BentoML).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import free_port

Image = list[list[float]]

APPS = Path(__file__).resolve().parent / "apps"
MODEL = "mnist-3v5"
LABELS = (3, 5)


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
        path: Where one prediction is asked for.
        command: Command line, given its `bin` directory and a port.
        envelope: The JSON that asks for one image.
        probabilities: Finds the probabilities of 3 and 5 in the JSON of an answer.
        pins: What pip installs into its environment; none: it runs in this one.
        environment: Variables, given a port.
        binary: Whether it speaks binary tensors of the Open Inference Protocol.
    """

    path: str
    command: Callable[[Path, int], list[str | Path]]
    envelope: Callable[[Any], dict[str, Any]]
    probabilities: Callable[[Any], list[float]]
    pins: tuple[str, ...] = ()
    environment: Callable[[int], dict[str, str]] = field(default=lambda _port: {})
    binary: bool = False


def _open_inference(image: Image) -> dict[str, Any]:
    shape = [1, 1, len(image), len(image[0])]
    return {"inputs": [{"name": "image", "shape": shape, "datatype": "FP32", "data": [[image]]}]}


def _mlserver_environment(port: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(APPS),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_DEBUG": "false",
        "MLSERVER_PARALLEL_WORKERS": "1",  # the default; inference in the server itself was slower
        "MLSERVER_MODEL_NAME": MODEL,
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_app.Digits",
        "MLSERVER_MODEL_MAX_BATCH_SIZE": "32",
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.002",
    }


_ONNXRUNTIME = "onnxruntime==1.32.0"

PEERS: dict[str, Peer] = {
    "ours": Peer(
        path="/v1/predict",
        command=lambda directory, port: [
            directory / "whitebox", "serve", "--port", str(port), "--log-level", "warning",
        ],
        envelope=lambda image: {"images": [image]},
        probabilities=lambda answer: list(answer["predictions"][0]["probabilities"].values()),
        binary=True,
        environment=lambda _port: {
            "WHITEBOX_DEFAULT_MODEL": MODEL,  # the model that the others serve
            "WHITEBOX_MODEL_CONTROL": "true",  # the soak reloads it
        },
    ),
    "plain": Peer(
        path="/predict",
        command=lambda directory, port: [
            directory / "uvicorn", "plain_app:app", "--app-dir", APPS.parent.parent,
            "--port", str(port), "--log-level", "warning", "--no-access-log",
        ],
        envelope=lambda image: {"images": [image]},
        probabilities=lambda answer: answer["probabilities"][0],
    ),
    "kserve": Peer(
        path=f"/v1/models/{MODEL}:predict",
        command=lambda directory, port: [
            directory / "python", APPS / "kserve_app.py", "--http_port", str(port),
            "--enable_grpc", "False", "--enable_latency_logging", "False", "--configure_logging", "False",
        ],
        envelope=lambda image: {"instances": [image]},
        probabilities=lambda answer: answer["predictions"][0]["probabilities"],
        pins=("kserve==0.21.0", _ONNXRUNTIME),
        binary=True,
    ),
    "mlserver": Peer(
        path=f"/v2/models/{MODEL}/infer",
        command=lambda directory, _port: [directory / "mlserver", "start", APPS],
        envelope=_open_inference,
        probabilities=lambda answer: answer["outputs"][1]["data"],
        # It does not start with uvloop 0.23 (MLServer #2286).
        pins=("mlserver==1.7.1", "uvloop<0.22", _ONNXRUNTIME),
        environment=_mlserver_environment,
    ),
    "litserve": Peer(
        path="/predict",
        command=lambda directory, port: [directory / "python", APPS / "litserve_app.py", str(port)],
        envelope=lambda image: {"image": image},
        probabilities=lambda answer: answer["probabilities"],
        pins=("litserve==0.2.19", _ONNXRUNTIME),
    ),
    "bentoml": Peer(
        path="/predict",
        command=lambda directory, port: [
            directory / "bentoml", "serve", "bentoml_app:Digits", "--working-dir", APPS,
            "--host", "127.0.0.1", "--port", str(port),
        ],
        envelope=lambda image: {"images": [image]},
        probabilities=lambda answer: answer[0]["probabilities"],
        pins=("bentoml==1.4.39", _ONNXRUNTIME),
        environment=lambda _port: {"BENTOML_DO_NOT_TRACK": "true"},
    ),
}  # fmt: skip


def chosen(names: str | None) -> list[str]:
    """Returns the names in a list with commas, or all.

    Raises:
        ValueError: There is no such peer.
    """
    wanted = list(PEERS) if names is None else names.split(",")
    for name in wanted:
        if name not in PEERS:
            raise ValueError(f"There is no peer {name!r}. There are: {', '.join(PEERS)}.")
    return wanted


def bin_of(name: str, environments: Path) -> Path:
    """Returns the directory of a peer's commands."""
    return environments / name / "bin" if PEERS[name].pins else Path(sys.executable).parent
