"""What a network holds, read from its package without torch: the sheet of a model.

Only what its parameters are and how kernels look in their rotations; `model.layers` says what they compute.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from model.package import WEIGHTS, ModelPackage

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sheet:
    """The parameters of a network, as its layers use them.

    Attributes:
        two_step: The two-step layer's parameters by name: `thresholds`, `levels`, `scales`.
        kernels: (kernels, rotations, k, k), of norm 1.
        shapes: (shapes, s, s), the base of each shape.
        rows: (classes, shapes), the weight of each shape for each class. Of its own shapes a class takes one,
            whichever is best, with the same weight.
    """

    two_step: dict[str, list[float]]
    kernels: Array
    shapes: Array
    rows: Array


def read_sheet(package: ModelPackage) -> Sheet:
    """Returns the sheet of a package.

    Raises:
        PackageError: The weights are missing or damaged.
    """
    weights = load(package.read(WEIGHTS))
    config = package.manifest.config
    names = ("thresholds", "levels", "scales")
    return Sheet(
        {name: weights[f"two_step.{name}"].tolist() for name in names},
        _rotated(weights["convolutional.base"], config.rotations),
        weights["affine.base"],
        _rows(weights["logical.base"], config.shapes_per_class),
    )


def _rotated(kernels: Array, rotations: int) -> Array:
    """Rotates kernels (K, k, k) as `model.layers.convolutional` does: (K, rotations, k, k) of norm 1."""
    side = kernels.shape[-1]
    centre = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - centre
    angles = 2 * np.pi * np.arange(rotations)[:, None, None] / rotations
    columns = np.cos(angles) * x + np.sin(angles) * y + centre  # (rotations, k, k)
    lines = -np.sin(angles) * x + np.cos(angles) * y + centre
    turned = _bilinear(kernels, lines, columns)
    norms = np.sqrt((turned**2).sum(axis=(2, 3), keepdims=True))
    unit: Array = (turned / np.maximum(norms, 1e-12)).astype(np.float32, order="C")
    return unit


def _bilinear(images: Array, lines: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reads images (K, k, k) between their pixels, zeros outside; places (P, k, k) give (K, P, k, k)."""
    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    last = padded.shape[-1] - 1
    lines, columns = (np.clip(places + 1, 0, last) for places in (lines, columns))
    top, left = (np.minimum(np.floor(places).astype(int), last - 1) for places in (lines, columns))
    down, right = lines - top, columns - left
    above = (1 - right) * padded[:, top, left] + right * padded[:, top, left + 1]
    below = (1 - right) * padded[:, top + 1, left] + right * padded[:, top + 1, left + 1]
    result: NDArray[np.float64] = (1 - down) * above + down * below
    return result


def _rows(base: Array, shapes_per_class: int) -> Array:
    """Writes the weight of the one own shape, which stands at its block's first place, at all of them."""
    rows = base.copy()
    for index, row in enumerate(rows):
        block = slice(index * shapes_per_class, (index + 1) * shapes_per_class)
        row[block] = row[block.start]
    return rows
