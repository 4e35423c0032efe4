"""From a finished run to a model package: what it is made from, what is checked, its manifest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime as ort
import torch
from torch import Tensor

from model.network import WhiteBoxNetwork
from model.package import (
    EXPLAIN_GRAPH,
    MANIFEST,
    PREDICT_GRAPH,
    ModelPackage,
    PackageError,
    read_package,
    write_package,
)
from model.typicality import TypicalityConfig
from training.data import NOWHERE, DataError, Dataset, Place, epsilon_of, is_of_mnist, load_recorded
from training.data.mnist import SAMPLE_SOURCE
from training.errors import TrainingError
from training.export.graphs import package_files
from training.networks.typicality import fit_typicality
from training.run import Run
from training.versions import code_versions

# So many images have to get the same logits from graphs and network, up to this share of the largest.
_COMPARED, _AGREEMENT = 64, 1e-5
_SHOWN_OF_A_CARD = ("model", "code", "data", "clean", "attacks", "worst_case", "certified")


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

    def measured(self, card: Path, name: str) -> "Trained":
        """Returns the same with the results of a card of `whitebox evaluate`.

        Args:
            card: Its file.
            name: What the card has to be of: a run's name, or a package's NAME/VERSION.

        Raises:
            TrainingError: It is no card, or another model's.
        """
        try:
            content = json.loads(card.read_text())
            measured = content["model"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{card} is no card: whitebox evaluate writes one.") from error
        if measured != name:
            raise TrainingError(f"{card} is a card of {measured}, not of {name}: evaluate {name}.")
        return self._replace(results=_results(content))


def export_from(
    source: Path, directory: Path, place: Place = NOWHERE, card: Path | None = None
) -> ModelPackage:
    """Exports a finished run, or a package again as its next version; reads its training images once more.

    Args:
        source: The run's or the package's directory.
        directory: Where to write, ending in NAME/VERSION.
        place: Where the images are now, if not where they were.
        card: What was measured of it; None for a run's own card, or what the package before says.

    Raises:
        TrainingError: The run is not finished, its images are gone, or the card is not one of it.
        PackageError: `source` is a damaged package, or `directory` exists or is not named NAME/VERSION.
    """
    is_package = (source / MANIFEST).exists()
    trained = Trained.from_package(read_package(source)) if is_package else Trained.from_run(Run(source))
    if card is not None:
        version = source.resolve()
        name = f"{version.parent.name}/{version.name}" if is_package else version.name
        trained = trained.measured(card, name)
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
        "training": {**trained.training, "epsilon": epsilon_of(trained.training)},
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
