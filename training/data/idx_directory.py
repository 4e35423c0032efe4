"""A directory of IDX files of anybody's: images and labels, for training and, where there are, for a test."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.content import Content, LabelledImages, labels_of
from training.data.dataset import DataError, Split
from training.data.idx import FILES, parse_idx, unpack


class KnownData(NamedTuple):
    """A published data set.

    Attributes:
        name: As its authors call it.
        digests: Of its files: SHA-256 of what is in them, or MD5 of the archives as they were published.
        labels: The names of its classes; none for digits.
    """

    name: str
    digests: frozenset[str]
    labels: tuple[str, ...] = ()


KNOWN = (
    KnownData("MNIST", frozenset(FILES.values())),
    KnownData(
        "Fashion-MNIST",
        frozenset(
            (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            )
        ),
        (
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
    ),
    KnownData(
        "KMNIST",
        frozenset(
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            )
        ),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
)
_PARTS: dict[str, Split] = {"train": "train", "t10k": "test", "test": "test"}


class _File(NamedTuple):
    path: Path
    array: NDArray[np.uint8]
    digests: frozenset[str]


def is_idx_directory(path: Path) -> bool:
    """Tells whether a directory holds IDX files."""
    return any(_idx_files(path))


def read_idx_directory(path: Path) -> Content:
    """Reads the IDX files of a directory, packed (.gz) or not.

    Names tell what a file is: `images` or `labels`, and `train`, or `t10k` or `test`. Files without either
    are for training.

    Raises:
        DataError: A file is damaged, or images and labels do not belong together.
    """
    files = [_read(file) for file in _idx_files(path)]
    parts: dict[Split, LabelledImages] = {}
    for part in ("train", "test"):
        named = [file for file in files if _part(file.path) == part]
        if named or part == "train":
            parts[part] = _pair(named, path, part)
    known = [each for each in KNOWN if any(file.digests & each.digests for file in files)]
    name, notes = path.name, ["Its digests are of no data set that is known here: it is taken as it is."]
    if known:
        name, notes = _recognised(files, known[0])
        if known[0].labels and not notes:
            names = np.array(known[0].labels)
            parts = {
                part: LabelledImages(found.images, names[found.targets]) for part, found in parts.items()
            }
            return Content(name, parts, known[0].labels, (f"The files are those of {name}.",))
        notes = notes or [f"The files are those of {name}."]
    return Content(name, parts, labels_of(parts["train"].targets), tuple(notes))


def _idx_files(path: Path) -> list[Path]:
    return [file for file in sorted(path.iterdir()) if "idx" in file.name and file.is_file()]


def _part(path: Path) -> Split:
    return next((part for word, part in _PARTS.items() if word in path.name.lower()), "train")


def _read(path: Path) -> _File:
    packed = path.read_bytes()
    content = unpack(path) if path.suffix == ".gz" else packed
    digests = hashlib.sha256(content).hexdigest(), hashlib.md5(packed, usedforsecurity=False).hexdigest()
    return _File(path, parse_idx(content, path), frozenset(digests))


def _pair(files: list[_File], path: Path, part: Split) -> LabelledImages:
    """Returns the one file of images with the one of labels."""
    images = [file for file in files if file.array.ndim == 3]
    labels = [file for file in files if file.array.ndim == 1]
    if len(images) != 1 or len(labels) != 1:
        names = ", ".join(file.path.name for file in files) or "none"
        raise DataError(
            f"{path} should hold one IDX file of grey images and one of labels for {part}; found: {names}. "
            f"Put other files elsewhere."
        )
    if len(images[0].array) != len(labels[0].array):
        raise DataError(
            f"{images[0].path} holds {len(images[0].array)} images, {labels[0].path.name} "
            f"{len(labels[0].array)} labels."
        )
    return LabelledImages(images[0].array, labels[0].array.astype(np.int64))


def _recognised(files: list[_File], known: KnownData) -> tuple[str, list[str]]:
    other = [file.path.name for file in files if not file.digests & known.digests]
    if other:
        return f"{known.name}, changed", [f"Not the files of {known.name}: {', '.join(other)}."]
    return known.name, []
