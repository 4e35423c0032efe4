"""From a finished run to a model package: weights, torch.export program, two ONNX graphs, manifest."""

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import onnxruntime as ort
import torch
from safetensors.torch import save
from torch import Tensor, nn

from model.frozen import Trace
from model.manifest import TYPICALITY_SCORE
from model.network import WhiteBoxNetwork
from model.package import (
    EXPLAIN_GRAPH,
    MANIFEST,
    PREDICT_GRAPH,
    PROGRAM,
    PROTOTYPES,
    WEIGHTS,
    ModelPackage,
    PackageError,
    read_package,
    write_package,
)
from model.typicality import Typicality, TypicalityConfig
from training.data import NOWHERE, DataError, Dataset, Place, is_of_mnist, load_recorded
from training.data.mnist import SAMPLE_SOURCE
from training.networks.typicality import fit_typicality
from training.run import Run
from training.versions import code_versions

_OPSET = 20
# So many images have to get the same logits from graphs and network, up to this share of the largest.
_COMPARED, _AGREEMENT = 64, 1e-5
_EXPORTERS_LOGS = (
    "torch.onnx._internal.exporter._registration",
    "onnxscript.optimizer._constant_folding",
)
_SHOWN_OF_A_CARD = ("model", "code", "data", "clean", "attacks", "worst_case", "certified")


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


class Trained(NamedTuple):
    """What a package is made from.

    Attributes:
        network: The network.
        training: How it was trained: recipe, seed, data, validation data, code.
        results: What was measured of it, if anything.
    """

    network: WhiteBoxNetwork
    training: Mapping[str, Any]
    results: Mapping[str, Any] | None

    @classmethod
    def from_run(cls, run: Run) -> "Trained":
        """Reads a finished run.

        Raises:
            RunError: The run is not finished, or its network is not a white-box network.
        """
        training = {**run.description(), "code": code_versions()}
        if "source" in training:  # where it lay is of this machine alone
            training["source"] = {**training["source"], "path": Path(training["source"]["path"]).name}
        results = _results(json.loads(run.card.read_text())) if run.card.exists() else None
        return cls(run.load_white_box(), training, results)

    @classmethod
    def from_package(cls, package: ModelPackage) -> "Trained":
        """Reads a package, to export its network again as the next version.

        Raises:
            PackageError: The weights are missing or damaged.
        """
        manifest = package.manifest
        return cls(WhiteBoxNetwork.from_package(package), manifest.training or {}, manifest.results)


def export_from(source: Path, directory: Path, place: Place = NOWHERE) -> ModelPackage:
    """Exports a finished run, or a package again as its next version; reads its training images once more.

    Args:
        source: The run's or the package's directory.
        directory: Where to write, ending in NAME/VERSION.
        place: Where the images are now, if not where they were.

    Raises:
        TrainingError: The run is not finished, or its images are gone.
        PackageError: `source` is a damaged package, or `directory` exists or is not named NAME/VERSION.
    """
    is_package = (source / MANIFEST).exists()
    trained = Trained.from_package(read_package(source)) if is_package else Trained.from_run(Run(source))
    training = trained.training if is_package else Run(source).description()  # with its images' whole path
    is_sample = training["data"]["source"].startswith(SAMPLE_SOURCE) and "source" not in training
    place = place._replace(sample=is_sample)
    images, held_out = (
        load_recorded(training, trained.network.config.labels, split, place)
        for split in ("train", "validation")
    )
    return export(trained, directory, images, held_out)


def export(
    trained: Trained,
    directory: Path,
    train: Dataset,
    held_out: Dataset,
) -> ModelPackage:
    """Writes a package to `directory`, which ends in NAME/VERSION.

    Args:
        trained: What to export.
        directory: Where.
        train: The images that the network was trained on: what is typical is learned from them.
        held_out: Images that it was not trained on: the typicality is calibrated on them.

    Raises:
        DataError: The images are not those that the network was trained on.
        PackageError: The directory exists or is not named NAME/VERSION.
    """
    for recorded, dataset in (("data", train), ("validation", held_out)):
        _check_origin(trained.training[recorded], dataset)
    network = trained.network
    fitted = fit_typicality(network.freeze().expanded, train, held_out, TypicalityConfig())
    manifest = {
        "labels": list(network.config.labels),
        "config": network.config.to_dict(),
        "input": {"height": network.config.height, "width": network.config.width},
        "preprocessing": _preprocessing(trained.training),
        "typicality": fitted.manifest(),
        "num_parameters": network.num_parameters(),
        "training": dict(trained.training),
        "results": trained.results,
    }
    files = package_files(network, fitted.typicality)
    _check_agreement(files, network, held_out.images[:_COMPARED])
    return write_package(directory, manifest, files)


def _check_agreement(files: Mapping[str, bytes], network: WhiteBoxNetwork, images: Tensor) -> None:
    """Refuses graphs that compute something else than the network does.

    Raises:
        PackageError: Logits of real images differ.
    """
    expected = network.freeze()(images)
    for file in (PREDICT_GRAPH, EXPLAIN_GRAPH):
        session = ort.InferenceSession(files[file], providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"image": images.numpy()})
        difference = (torch.from_numpy(logits) - expected).abs().max() / expected.abs().max()
        if not difference <= _AGREEMENT:  # nor NaN
            raise PackageError(f"{file} disagrees with the network: its logits differ by {difference:.0e}.")


def _check_origin(recorded: Mapping[str, Any], dataset: Dataset) -> None:
    if recorded["sha256"] != dataset.digest:
        raise DataError(
            f"The network was trained with {recorded['source']} ({recorded['count']:,} images); these are "
            f"others, {dataset.source} ({len(dataset):,}). Name their place with --data or --data-dir."
        )


def _preprocessing(training: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how a file becomes what a network that was trained on these images reads."""
    return {"name": "handwritten-digit", "box": 20} if is_of_mnist(training) else {"name": "resize"}


def _results(card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a manifest shows of a card: its numbers, not the points of its curves."""
    return {name: card[name] for name in _SHOWN_OF_A_CARD if name in card}


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
