"""The files of a package: weights, torch.export program, the two ONNX graphs, prototypes."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from safetensors.torch import save
from torch import Tensor, nn

from model.frozen import Trace
from model.manifest import TYPICALITY_SCORE
from model.network import WhiteBoxNetwork
from model.package import EXPLAIN_GRAPH, PREDICT_GRAPH, PROGRAM, PROTOTYPES, WEIGHTS
from model.typicality import Typicality

_OPSET = 20
_EXPORTERS_LOGS = (
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
)


# Graphs hold the parameters and how poses are expanded; onnxruntime expands them once, when it loads a graph.
# A graph of the expanded templates would be 25 times as large (docs/decisions/0019).


class Predictor(nn.Module):
    """What `predict.onnx` computes: logits, probabilities, and with a typicality scores."""

    def __init__(self, network: WhiteBoxNetwork, typicality: Typicality | None = None) -> None:
        super().__init__()
        self.network, self.typicality = network, typicality

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns."""
        names = ("logits", "probabilities")
        return names if self.typicality is None else (*names, TYPICALITY_SCORE)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, 1, H, W) to logits and probabilities (N, classes) and scores (N,)."""
        inferred = self.network.expand().infer(image)
        found = inferred.logits, inferred.logits.softmax(dim=1)
        return found if self.typicality is None else (*found, self.typicality(inferred))


class Explainer(nn.Module):
    """What `explain.onnx` computes: the parts of a trace in the order of `Trace.names()`."""

    def __init__(self, network: WhiteBoxNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, 1, H, W) to the trace."""
        trace = self.network.expand().trace(image)
        return tuple(getattr(trace, name) for name in Trace.names())


def package_files(network: WhiteBoxNetwork, typicality: Typicality | None = None) -> dict[str, bytes]:
    """Returns the bytes of every file of a package; with a typicality, predictions have a score."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    size = network.config.height, network.config.width
    predictor = Predictor(network, typicality)
    return {
        WEIGHTS: save(network.state_dict()),
        PROGRAM: _program(network, size),
        PREDICT_GRAPH: onnx_graph(predictor, predictor.outputs, size),
        EXPLAIN_GRAPH: onnx_graph(Explainer(network), Trace.names(), size),
        **({} if typicality is None else {PROTOTYPES: typicality.to_bytes(size)}),
    }


def _example(size: tuple[int, int]) -> Tensor:
    return torch.zeros(2, 1, *size)


def _program(network: WhiteBoxNetwork, size: tuple[int, int]) -> bytes:
    shapes = {"image": {0: torch.export.Dim("N")}}
    with _without_exporters_warnings():
        program = torch.export.export(network, (_example(size),), dynamic_shapes=shapes)
    for node in program.graph.nodes:  # names places in the source of the machine that exports
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def onnx_graph(module: nn.Module, outputs: Sequence[str], size: tuple[int, int]) -> bytes:
    """Returns an ONNX graph that maps any number of images of height and width `size` to the outputs."""
    with _without_exporters_warnings():
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
def _without_exporters_warnings() -> Iterator[None]:
    """Silences what the exporters say of themselves: what is missing, deprecated, or not computed ahead."""
    loggers = [logging.getLogger(name) for name in _EXPORTERS_LOGS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
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
