"""Labelled images in memory."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.package import Label
from training.errors import TrainingError

Split = Literal["train", "validation", "test"]


class DataError(TrainingError):
    """The data is missing or not what it should be."""


@dataclass(frozen=True)
class Dataset:
    """Images with their classes.

    Attributes:
        images: (N, 1, H, W) float32 in [0, 1].
        classes: (N,) int64, the index of each image's label in `labels`.
        labels: The label of each class, in order.
        source: Where the images came from, in words.
        digest: SHA-256 of the images' and labels' bytes.
    """

    images: Tensor
    classes: Tensor
    labels: tuple[Label, ...]
    source: str
    digest: str

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_arrays(
        cls,
        images: NDArray[np.uint8],
        targets: NDArray[np.integer] | NDArray[np.str_],
        labels: tuple[Label, ...],
        source: str,
    ) -> "Dataset":
        """Builds a data set from grey images (N, H, W) in 0..255 and the label of each, (N,)."""
        images = np.ascontiguousarray(images)
        class_of = {label: index for index, label in enumerate(labels)}
        return cls(
            images=torch.from_numpy(images)[:, None].float() / 255,
            classes=torch.tensor([class_of[label] for label in targets.tolist()], dtype=torch.int64),
            labels=labels,
            source=source,
            digest=hashlib.sha256(images.tobytes() + _bytes_of(targets)).hexdigest(),
        )

    def first(self, limit: int | None) -> "Dataset":
        """Returns the first `limit` images, or all."""
        if limit is None or limit >= len(self):
            return self
        images = (self.images[:limit, 0] * 255).round().byte().numpy()
        targets = np.asarray(self.labels)[self.classes[:limit].numpy()]
        return Dataset.from_arrays(images, targets, self.labels, f"{self.source}, first {limit}")

    def to(self, device: torch.device) -> "Dataset":
        """Returns the data set in a device's memory."""
        return replace(self, images=self.images.to(device), classes=self.classes.to(device))

    def origin(self) -> dict[str, Any]:
        """Returns source, number and digest as plain JSON values, for cards and run directories."""
        return {"source": self.source, "count": len(self), "sha256": self.digest}


def _bytes_of(targets: NDArray[np.integer] | NDArray[np.str_]) -> bytes:
    """Returns what a digest is taken of: whole numbers as 64 bits, names as lines of text."""
    if np.issubdtype(targets.dtype, np.integer):
        return targets.astype("<i8").tobytes()
    return "\n".join(targets.tolist()).encode()
