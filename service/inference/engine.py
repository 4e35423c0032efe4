"""Inference: one loaded model package on onnxruntime."""

import ctypes
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Read once, when onnxruntime is imported: it would else report its use to its maker and write to the disk.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from model.conformal import p_values
from model.manifest import TYPICALITY_SCORE
from model.package import EXPLAIN_GRAPH, PREDICT_GRAPH, ModelPackage, PackageError
from service.codecs.preprocessing import preprocessing_of
from service.codecs.serialization import Predicted
from service.inference.graph_outputs import (
    check_agreement,
    check_answers,
    explain_outputs,
    predict_outputs,
)
from service.inference.graph_policy import check_graph

Array = NDArray[Any]
Images = NDArray[np.float32]

# Images that go through a graph at once: with 8 to 16 it is quickest, since what lies between its layers fits
# the cache; 64 at once take twice the time an image (benchmarks/inference.py).
AT_ONCE = 16
# What the Open Inference Protocol shows of the typicality, instead of the graph's score.
TYPICALITY_P_VALUE = "typicality_p_value"
# onnxruntime's types as the Open Inference Protocol names them
_DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}

_PREDICTED = ["logits", "probabilities"]
_P_VALUE = {"name": TYPICALITY_P_VALUE, "datatype": "FP64", "shape": [-1]}


class Engine:
    """Answers for one model package. Safe to call from several threads.

    Args:
        package: A package; its graphs are verified against their digests.

    Raises:
        PackageError: A graph is missing, damaged or holds what is refused.
    """

    def __init__(self, package: ModelPackage) -> None:
        self.package = package
        self.labels = package.labels
        self.size = package.height, package.width
        try:
            self.preprocessing = preprocessing_of(package.manifest)
        except ValueError as error:
            raise PackageError(f"{package.directory} is refused: {error}.") from error
        self.shapes_per_class = package.manifest.config.shapes_per_class
        self._predict = _session(package, PREDICT_GRAPH)
        self._explain = _session(package, EXPLAIN_GRAPH)
        _return_freed_memory()
        self._calibration = _calibration(package)
        self._parts = [output.name for output in self._explain.get_outputs()]
        self._outputs = _described(self._predict, self._explain)

    def predict(self, images: Images) -> Predicted:
        """Maps images (N, H, W) in [0, 1] to logits, probabilities and p-values of the typicality."""
        if self._calibration is None:
            logits, probabilities = _in_pieces(self._predict, _PREDICTED, images)
            return Predicted(logits, probabilities, np.full(len(images), np.nan))
        logits, probabilities, scores = _in_pieces(self._predict, [*_PREDICTED, TYPICALITY_SCORE], images)
        return Predicted(logits, probabilities, p_values(scores, *self._calibration))

    def explain(self, images: Images, parts: Sequence[str] | None = None) -> dict[str, Array]:
        """Returns the named outputs of the trace of images (N, H, W), or all of them.

        The names are the fields of `model.frozen.Trace`; what is not named is not computed.
        """
        names = self._parts if parts is None else list(parts)
        return dict(zip(names, _in_pieces(self._explain, names, images), strict=True))

    def numbers(self, parts: Sequence[str], images: int) -> int:
        """Returns how many numbers the named outputs of so many images hold; a repeated name counts again."""
        sizes: dict[str, int] = {output["name"]: math.prod(output["shape"][1:]) for output in self._outputs}
        return images * sum(sizes.get(part, 1) for part in parts)

    def outputs(self) -> list[dict[str, Any]]:
        """Returns name, datatype and shape of all outputs, as the Open Inference Protocol has them."""
        typicality = [] if self._calibration is None else [_P_VALUE]
        return [each for each in self._outputs if each["name"] != TYPICALITY_SCORE] + typicality

    def try_out(self) -> None:
        """Runs both graphs, so that the first request finds them ready, and checks what they answer.

        Raises:
            PackageError: They do not answer as the manifest says.
        """
        manifest = self.package.manifest
        random = np.random.default_rng(0)
        for count in (1, AT_ONCE):
            images = random.random((count, *self.size), np.float32)
            predicted = _by_name(self._predict, images)
            explained = _by_name(self._explain, images)
            check_answers(PREDICT_GRAPH, predict_outputs(manifest), predicted, count)
            check_answers(EXPLAIN_GRAPH, explain_outputs(manifest), explained, count)
            check_agreement(predicted["logits"], explained["logits"])


def _by_name(session: ort.InferenceSession, images: Images) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, _in_pieces(session, names, images), strict=True))


def _session(package: ModelPackage, file: str) -> ort.InferenceSession:
    graph = package.read(file)
    check_graph(file, graph)
    _share_memory()
    options = ort.SessionOptions()
    # One image takes 0.1 ms: a second thread costs more than it brings, and attacks need the core.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@cache
def _share_memory() -> None:
    """Makes all sessions of this process take memory from one arena.

    Each would else keep what its largest batch once needed, and models loaded again would make the process
    grow: 370 MB instead of 235 after sixty loads.
    """
    cpu = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(cpu, None)


def _return_freed_memory() -> None:
    """Hands back what onnxruntime freed after it had optimised graphs.

    glibc would keep it: 100 MB of 365 with the six shipped packages.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library, or Windows
        ctypes.CDLL(None).malloc_trim(0)


def _calibration(package: ModelPackage) -> tuple[Array, float] | None:
    """Returns the scores of held-out images and the shift; None for a package without typicality."""
    typicality = package.typicality
    return None if typicality is None else (np.array(typicality.calibration), typicality.shift)


def _described(*sessions: ort.InferenceSession) -> list[dict[str, Any]]:
    found = {
        output.name: {
            "name": output.name,
            "datatype": _DATATYPES[output.type],
            "shape": [size if isinstance(size, int) else -1 for size in output.shape],
        }
        for session in sessions
        for output in session.get_outputs()
    }
    return list(found.values())


def _in_pieces(session: ort.InferenceSession, names: list[str], images: Images) -> list[Array]:
    batch = images[:, None]  # (N, 1, H, W)
    if len(batch) <= AT_ONCE:
        outputs: list[Array] = session.run(names, {"image": batch})
        return outputs
    pieces = [
        session.run(names, {"image": batch[start : start + AT_ONCE]})
        for start in range(0, len(batch), AT_ONCE)
    ]
    return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
