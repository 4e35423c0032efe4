"""Photographs of digits: how many are recognised, kind by kind, and what preparing one costs.

    WHITEBOX_DATA_DIR=... python -m benchmarks.photographs [--validation]

Of each kind of photograph 1,000 are made, of MNIST's test digits, other ones for each kind; --validation
takes held-out training digits instead, 200 a kind. mnist-10 answers. Time is processor time on one core,
from the bytes of a 640 x 480 JPEG to the image that the network reads.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.measuring import ROOT, save, show
from model.package_directory import newest_package
from service.codecs.preprocessing import NotADigitError, read_image_file
from service.inference.engine import Engine
from training.data import Split
from training.data.mnist import load_mnist

sys.path.append(str(ROOT / "tests"))
from photos import KINDS, MNIST_FORM, photograph

A_KIND = {"test": 1000, "validation": 200}


def main(split: Split) -> None:
    """Prints the table and writes benchmarks/results/photographs.json."""
    images, labels, engine = _loaded(split)
    clean = float((_labels(engine, list(images)) == labels).mean())
    rows: list[list[Any]] = []
    with ProcessPoolExecutor() as pool:
        for row in pool.map(partial(_row, split), range(len(KINDS))):
            rows.append(row)
            print(*row, flush=True)
    mean = float(np.mean([row[1] for row in rows]))
    columns = ["kind", "right, %", "refused", "ms of processor time"]
    show(f"Photographs, {mean:.2f}% right on average; clean: {100 * clean:.2f}%", columns, rows)
    kinds = [dict(zip(columns, row, strict=True)) for row in rows]
    save(
        "photographs" if split == "test" else "photographs_validation",
        {"clean_percent": 100 * clean, "mean_percent": mean, "kinds": kinds},
    )


@cache
def _loaded(split: Split) -> tuple[np.ndarray, np.ndarray, Engine]:
    """Returns the digits (N, 28, 28), their labels, and the model."""
    digits = load_mnist(split, tuple(range(10)))
    engine = Engine(newest_package(ROOT / "artifacts", "mnist-10"))
    return digits.images[:, 0].numpy(), digits.classes.numpy(), engine


def _row(split: Split, index: int) -> list[Any]:
    """Returns what is measured of one kind of photograph."""
    images, labels, engine = _loaded(split)
    kind = list(KINDS)[index]
    some = np.random.default_rng(index).permutation(len(images))[: A_KIND[split]]
    seen, refused, spent = [], 0, []
    for digit in some:
        content = photograph(images[digit], kind, int(digit))
        started = time.process_time()
        try:
            seen.append(MNIST_FORM.one(read_image_file(content, 10**7)).pixels)
        except NotADigitError:
            refused += 1
            seen.append(np.full((28, 28), np.nan, np.float32))
        spent.append(time.process_time() - started)
    right = _labels(engine, seen) == labels[some]
    return [kind, 100 * float(right.mean()), refused, 1e3 * float(np.median(spent))]


def _labels(engine: Engine, images: list[np.ndarray]) -> np.ndarray:
    logits = engine.predict(np.stack(images)).logits  # (N, 10)
    return np.where(np.isnan(logits).any(axis=1), -1, logits.argmax(axis=1))


if __name__ == "__main__":
    main("validation" if "--validation" in sys.argv else "test")
