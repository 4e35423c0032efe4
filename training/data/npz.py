"""An .npz file of numpy arrays, under the names that Keras, MedMNIST and most others use."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.content import Content, LabelledImages, labels_of
from training.data.dataset import DataError, Split

# Names of the images and the labels of each part, the first that are there.
_NAMES: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
        ("images", "labels"),
        ("x", "y"),
        ("data", "target"),
    ),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def read_npz(path: Path) -> Content:
    """Reads grey images (N, H, W) and labels (N,) from an .npz file; nothing in it is unpickled.

    Images are bytes, or numbers in [0, 1]; labels are whole numbers or text.

    Raises:
        DataError: The arrays are not there, or not such.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an .npz file of plain arrays: {error}.") from error
    parts = {}
    for part, choices in _NAMES.items():
        if pair := next((pair for pair in choices if set(pair) <= arrays.keys()), None):
            images = _images(arrays[pair[0]], path, pair[0])
            parts[part] = LabelledImages(images, _labels(arrays[pair[1]], len(images), path, pair[1]))
    if "train" not in parts:
        known = ", ".join(" and ".join(pair) for pair in _NAMES["train"])
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} holds {found}; images and labels are looked for as {known}.")
    return Content(path.stem, parts, labels_of(parts["train"].targets))


def _images(values: NDArray[Any], path: Path, name: str) -> NDArray[np.uint8]:
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values.squeeze(1 if values.shape[1] == 1 else 3)
    if values.ndim != 3:
        raise DataError(f"{name} in {path} has the shape {values.shape}, not (N, H, W): grey images.")
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"{name} in {path} holds {values.dtype}; images are uint8, or floats in [0, 1].")
    if not (values.min() >= 0 and values.max() <= 1):  # NaN fails both
        raise DataError(
            f"{name} in {path} goes from {values.min():g} to {values.max():g}; floats are taken in [0, 1]."
        )
    return (values * 255).round().astype(np.uint8)


def _labels(values: NDArray[Any], images: int, path: Path, name: str) -> NDArray[Any]:
    if values.shape not in ((images,), (images, 1)):
        raise DataError(f"{name} in {path} has the shape {values.shape}, not one label for each of {images}.")
    if values.dtype.kind not in "iuU":
        raise DataError(f"{name} in {path} holds {values.dtype}; labels are whole numbers or text.")
    return values.reshape(-1).astype(np.int64 if values.dtype.kind in "iu" else values.dtype)
