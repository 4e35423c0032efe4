"""Where the images of a run come from: found by looking at a path, recorded, and read again.

A source is plain data: what to read, which classes, what size, how to split. The same source gives the same
splits, bit for bit, as long as the files are the same; digests tell whether they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.package import Label
from model.plugins import Registry
from training.data.content import Content, LabelledImages, check_size, picked, report_on_classes
from training.data.dataset import DataError, Dataset, Split
from training.data.folder import is_folder_of_images, read_folder
from training.data.idx_directory import is_idx_directory, read_idx_directory
from training.data.npz import read_npz

Size = tuple[int, int]


class Reader(NamedTuple):
    """A kind of data source.

    Attributes:
        name: What a run records it as.
        recognises: Tells from a path, which exists, whether it is of this kind.
        read: Returns its content; a size, if one is given, is what images are brought to.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Size | None], Content]


def own_size(read: Callable[[Path], Content]) -> Callable[[Path, Size | None], Content]:
    """Returns what a `Reader` reads with, for a format whose images have one size already."""

    def read_at_own_size(path: Path, size: Size | None) -> Content:
        content = read(path)
        if size not in (None, content.size):
            raise DataError(
                f"The images of {path} have {content.size[0]} x {content.size[1]} pixels: --size is for "
                f"folders."
            )
        return content

    return read_at_own_size


# Asked in the order in which they were added.
DATA_SOURCES: Registry[Reader] = Registry(
    "data source",
    "a training.data.Reader",
    lambda value: isinstance(value, Reader),
    lambda reader: reader.name,
    own=(
        Reader("npz", lambda path: path.suffix == ".npz", own_size(read_npz)),
        Reader("idx", lambda path: path.is_dir() and is_idx_directory(path), own_size(read_idx_directory)),
        Reader("folder", lambda path: path.is_dir() and is_folder_of_images(path), read_folder),
    ),
)


@dataclass(frozen=True)
class DataSource:
    """Labelled images somewhere, and what is made of them.

    Attributes:
        kind: Which of `DATA_SOURCES` reads it.
        path: Of the directory or the file.
        labels: The classes, in order.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        holdout: Share of each class that is held out for a test, where the source has no such part, and
            then of the rest for validation.
        seed: Of what is held out.
    """

    kind: str
    path: Path
    labels: tuple[Label, ...]
    height: int
    width: int
    holdout: float = 0.1
    seed: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DataSource":
        """Reads what `to_dict` wrote."""
        return cls(**{**values, "path": Path(values["path"]), "labels": tuple(values["labels"])})

    def to_dict(self) -> dict[str, Any]:
        """Returns the source as plain JSON values."""
        return {**asdict(self), "path": str(self.path), "labels": list(self.labels)}

    def load(self, split: Split) -> Dataset:
        """Returns the images of a split that carry one of the labels.

        Raises:
            DataError: The source is not there any more, or not what it was.
        """
        content = read_content(self.kind, self.path, (self.height, self.width))
        own = content.parts.get(split)
        found = own if own is not None and split != "train" else self._held_out(content, split)
        chosen = np.flatnonzero(np.isin(found.targets, self.labels))
        return Dataset.from_arrays(
            found.images[chosen], found.targets[chosen], self.labels, f"{content.name}, {split}"
        )

    def _held_out(self, content: Content, split: Split) -> LabelledImages:
        """Returns a split of the training part."""
        whole = content.parts["train"]
        rest = np.arange(len(whole.targets))
        for part in ("test", "validation"):
            if part not in content.parts:
                held = _sample(whole.targets, rest, self.holdout, self.seed)
                if part == split:
                    return LabelledImages(whole.images[held], whole.targets[held])
                rest = np.setdiff1d(rest, held)
        return LabelledImages(whole.images[rest], whole.targets[rest])


def _sample(targets: NDArray[Any], rest: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Returns the places of a share of each class, at least one, drawn by the seed; in order."""
    generator = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(targets[rest]):
        own = rest[targets[rest] == label]
        drawn.append(generator.permutation(own)[: max(1, round(share * len(own)))])
    return np.sort(np.concatenate(drawn))


class FoundSource(NamedTuple):
    """A source, and what the user should know of it."""

    source: DataSource
    notes: list[str]


def find_source(
    path: Path, classes: Sequence[str] | None = None, size: Size | None = None, holdout: float = 0.1
) -> FoundSource:
    """Looks at what a path holds: a folder with a subfolder a class, IDX files, or an .npz file.

    Args:
        path: The directory or the file.
        classes: Names of the classes to keep, in order; default all.
        size: Height and width to bring the images of a folder to.
        holdout: As `DataSource` has it.

    Raises:
        DataError: There is nothing that can be read, or what there is cannot train a network.
    """
    if not path.exists():
        raise DataError(f"There is no {path}. --data names a folder of images, IDX files, or an .npz file.")
    kind = next((name for name, reader in DATA_SOURCES.items() if reader.recognises(path)), None)
    if kind is None:
        raise DataError(
            f"{path} holds no data that is known here: subfolders named after the classes with PNG, JPEG, "
            f"WebP or BMP files, IDX files (train-images-idx3-ubyte, packed or not), or an .npz file. "
            f"A plugin may read other kinds: --plugin."
        )
    path = path.absolute()
    content = read_content(kind, path, size)
    check_size(content.size, path)
    labels = picked(content, classes)
    needed = 1 + sum(part not in content.parts for part in ("validation", "test"))
    notes = [*content.notes, *report_on_classes(content, labels, needed)]
    return FoundSource(DataSource(kind, path, labels, *content.size, holdout), notes)


def read_content(kind: str, path: Path, size: Size | None) -> Content:
    """Reads a source of a kind of `DATA_SOURCES`."""
    if kind not in DATA_SOURCES:
        raise DataError(f"Nothing here reads data of the kind {kind!r}. Kinds: {', '.join(DATA_SOURCES)}.")
    if not path.exists():
        raise DataError(f"There is no {path} any more. Say with --data where the images are now.")
    return _read(kind, path, size, _stamp(path))


@lru_cache(maxsize=2)  # a training needs three splits of one source
def _read(kind: str, path: Path, size: Size | None, _stamp: int) -> Content:
    return DATA_SOURCES[kind].read(path, size)


def _stamp(path: Path) -> int:
    """Returns what changes when a file of a source does."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    status = [(file, file.stat()) for file in files if file.is_file()]
    return hash(tuple((file, each.st_mtime_ns, each.st_size) for file, each in status))
