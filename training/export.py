"""From a finished run to a model package: weights, torch.export program, two ONNX graphs, manifest."""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save
from torch import Tensor, nn

from model.frozen import FrozenNetwork, Trace
from model.network import WhiteBoxNetwork
from model.package import (
    EXPLAIN_GRAPH,
    PREDICT_GRAPH,
    PROGRAM,
    WEIGHTS,
    ModelPackage,
    write_package,
)
from model.typicality import Typicality, TypicalPredictor
from training.train import Run
from training.versions import code_versions

_OPSET = 20
_REGISTRATION_LOG = "torch.onnx._internal.exporter._registration"
_SHOWN_OF_A_CARD = ("model", "code", "data", "clean", "attacks", "worst_case", "certified")


class Predictor(nn.Module):
    """What `predict.onnx` computes: logits and probabilities."""

    def __init__(self, network: FrozenNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, 1, 28, 28) to logits and probabilities, both (N, classes)."""
        logits = self.network(image)
        return logits, logits.softmax(dim=1)


class Explainer(nn.Module):
    """What `explain.onnx` computes: the parts of a trace in the order of `Trace.names()`."""

    def __init__(self, network: FrozenNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, 1, 28, 28) to the trace."""
        trace = self.network.trace(image)
        return tuple(getattr(trace, name) for name in Trace.names())


def export_run(run: Run, directory: Path) -> ModelPackage:
    """Writes the package of a finished run to `directory`, which ends in NAME/VERSION.

    Raises:
        RunError: The run is not finished, or its network is not a white-box network.
        PackageError: The directory exists or is not named NAME/VERSION.
    """
    description = run.description()
    network = run.load_white_box()
    config = network.config
    results = _results(json.loads(run.card.read_text())) if run.card.exists() else None
    manifest = {
        "labels": list(config.labels),
        "config": config.to_dict(),
        "input": {"height": config.height, "width": config.width},
        "num_parameters": network.num_parameters(),
        "training": {**description, "code": code_versions()},
        "results": results,
    }
    return write_package(directory, manifest, package_files(network))


def _results(card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a manifest shows of a card: its numbers, not the points of its curves."""
    return {name: card[name] for name in _SHOWN_OF_A_CARD if name in card}


def package_files(network: WhiteBoxNetwork, typicality: Typicality | None = None) -> dict[str, bytes]:
    """Returns the bytes of every file of a package; with a typicality, predictions have a score."""
    frozen, size = network.freeze().eval(), (network.config.height, network.config.width)
    return {
        WEIGHTS: save(network.state_dict()),
        PROGRAM: _program(frozen, size),
        PREDICT_GRAPH: _predict_graph(frozen, typicality, size),
        EXPLAIN_GRAPH: onnx_graph(Explainer(frozen), Trace.names(), size),
    }


def _predict_graph(network: FrozenNetwork, typicality: Typicality | None, size: tuple[int, int]) -> bytes:
    outputs = ("logits", "probabilities")
    if typicality is None:
        return onnx_graph(Predictor(network), outputs, size)
    return onnx_graph(TypicalPredictor(network, typicality), (*outputs, "typicality_score"), size)


def _example(size: tuple[int, int]) -> Tensor:
    return torch.zeros(2, 1, *size)


def _program(network: FrozenNetwork, size: tuple[int, int]) -> bytes:
    shapes = {"image": {0: torch.export.Dim("N")}}
    with _without_torchs_warnings():
        program = torch.export.export(network, (_example(size),), dynamic_shapes=shapes)
    for node in program.graph.nodes:  # names places in the source of the machine that exports
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def onnx_graph(module: nn.Module, outputs: Sequence[str], size: tuple[int, int]) -> bytes:
    """Returns an ONNX graph that maps any number of images of height and width `size` to the outputs."""
    with _without_torchs_warnings():
        exported = torch.onnx.export(
            module.eval(),
            (_example(size),),
            dynamo=True,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_shapes={"image": {0: torch.export.Dim("N")}},
            opset_version=_OPSET,
            verbose=False,
        )
    assert exported is not None
    proto: onnx.ModelProto = exported.model_proto
    graph: bytes = _without_source_paths(proto).SerializeToString()
    return graph


@contextmanager
def _without_torchs_warnings() -> Iterator[None]:
    """Silences torch's warnings about itself: missing torchvision operators, and a class it deprecated."""
    logger = logging.getLogger(_REGISTRATION_LOG)
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _without_source_paths(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Drops what only names places in the source that exported it."""
    proto.doc_string = ""
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    return proto
