"""A folder with a subfolder a class, full of image files of any size."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from model.image_form import Grey, in_form
from model.network_config import LARGEST_SIDE, SMALLEST_SIDE, Label
from training.data.content import Content, LabelledImages
from training.data.dataset import DataError, Split

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_PARTS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}
# Longer side of the images that a network is given where the files do not agree on a size that suits it.
_USUAL_SIDE = 32
_NAMED = 5


class _Unreadable(NamedTuple):
    path: Path
    reason: str


def is_folder_of_images(path: Path) -> bool:
    """Tells whether a directory holds subfolders with image files, by class or by split and class."""
    return any(_files(folder) for folder in _subfolders(path)) or _is_split(path)


def read_folder(path: Path, size: tuple[int, int] | None = None) -> Content:
    """Reads all images of a folder: CLASS/FILE, or train/CLASS/FILE and test/CLASS/FILE.

    Args:
        path: The folder. Names of classes that are whole numbers become such labels.
        size: Height and width that images are brought to. Default: their own if they agree on one of 8 to
            64 pixels a side, else the usual one, with the aspect ratio that most have.

    Raises:
        DataError: There are no images, or a class has none that can be read.
    """
    roots = {_PARTS[f.name]: f for f in _subfolders(path) if f.name in _PARTS} if _is_split(path) else {}
    listed = {part: _listed(root) for part, root in (roots or {"train": path}).items()}
    if not listed.get("train"):
        raise DataError(
            f"{path} holds no images: subfolders named after the classes, full of PNG files, say."
        )
    names = list(dict.fromkeys(name for name, _ in listed["train"]))
    labels = _labels(names)
    notes: list[str] = []
    if size is None:
        size, notes = _common_size([file for _, file in listed["train"]], path)
    unreadable: list[_Unreadable] = []
    for part, files in listed.items():
        if strange := sorted({name for name, _ in files} - set(names)):
            notes.append(f"Left out: {', '.join(strange)}, which {part} has and train has not.")
    parts = {part: _read(files, labels, size, unreadable) for part, files in listed.items()}
    if unreadable:
        notes.append(_report(unreadable))
    whole = np.unique(parts["train"].targets).tolist()
    if empty := [name for name in names if labels[name] not in whole]:
        raise DataError(f"No image of the class {empty[0]!r} in {path} can be read. {' '.join(notes)}")
    return Content(path.name, parts, tuple(sorted(labels.values())), tuple(notes))


def _subfolders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def _is_split(path: Path) -> bool:
    train = path / "train"
    return train.is_dir() and any(_files(folder) for folder in _subfolders(train))


def _listed(root: Path) -> list[tuple[str, Path]]:
    return [(folder.name, file) for folder in _subfolders(root) for file in _files(folder)]


def _labels(names: list[str]) -> dict[str, Label]:
    """Returns the label of each name: whole numbers if all names are."""
    if all(name.isdecimal() and str(int(name)) == name for name in names):
        return {name: int(name) for name in names}
    return {name: name for name in names}


def _sizes(files: list[Path]) -> Iterator[tuple[int, int]]:
    for file in files:
        try:
            with Image.open(file, formats=_FORMATS) as image:
                yield image.height, image.width
        except OSError:
            continue  # reported when its pixels are read


def _common_size(files: list[Path], path: Path) -> tuple[tuple[int, int], list[str]]:
    counts = Counter(_sizes(files))
    if not counts:
        raise DataError(f"Not one image file in {path} can be read.")
    (height, width), _ = counts.most_common(1)[0]
    if len(counts) == 1 and all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        return (height, width), []
    scale = _USUAL_SIDE / max(height, width)
    size = max(SMALLEST_SIDE, round(height * scale)), max(SMALLEST_SIDE, round(width * scale))
    found = f"{len(counts)} sizes" if len(counts) > 1 else f"{height} x {width} pixels"
    return size, [
        f"The images have {found}; all are brought to {size[0]} x {size[1]} (height x width), unless --size "
        f"names another."
    ]


def _read(
    files: list[tuple[str, Path]],
    labels: dict[str, Label],
    size: tuple[int, int],
    unreadable: list[_Unreadable],
) -> LabelledImages:
    images: list[Grey] = []
    targets: list[Label] = []
    for name, file in files:
        if name not in labels:
            continue
        try:
            with Image.open(file, formats=_FORMATS) as image:
                images.append(in_form(image, *size))
        except Exception as error:  # Pillow raises many kinds for a broken file; all mean the same here
            unreadable.append(_Unreadable(file, str(error) or type(error).__name__))
        else:
            targets.append(labels[name])
    pixels = np.stack(images) if images else np.zeros((0, *size), np.uint8)
    return LabelledImages(pixels, np.array(targets))


def _report(unreadable: list[_Unreadable]) -> str:
    named = ", ".join(f"{file} ({reason})" for file, reason in unreadable[:_NAMED])
    more = f" and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
    files = "1 file" if len(unreadable) == 1 else f"{len(unreadable)} files"
    return f"{files} cannot be read as images and are left out: {named}{more}."
