"""A model package on disk: what `whitebox export` writes and the service and the attacks read.

    NAME/VERSION/
        manifest.json           name, version, labels, config, digests, how it was trained, results
        weights.safetensors     the parameters
        network.pt2             torch.export program, dynamic batch
        predict.onnx            image -> logits, probabilities, typicality_score
        explain.onnx            image -> everything that a trace holds
        prototypes.safetensors  what the typicality score compares with; may be missing

This module needs neither torch nor onnxruntime. Files are read only through `ModelPackage.read`, which
gives bytes that match the manifest's digest or refuses.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.manifest import (
    EXPLAIN_GRAPH,
    FILES,
    MANIFEST,
    MOST_BYTES,
    NAME_PATTERN,
    PREDICT_GRAPH,
    PROGRAM,
    PROTOTYPES,
    VERSION_PATTERN,
    WEIGHTS,
    Manifest,
    ManifestError,
    Preprocessing,
    TypicalityCalibration,
    parse_manifest,
    to_manifest,
)
from model.network_config import Label

__all__ = [
    "EXPLAIN_GRAPH", "FILES", "MANIFEST", "PREDICT_GRAPH", "PROGRAM", "PROTOTYPES", "WEIGHTS",
    "Label", "ModelPackage", "PackageError",
    "is_package_path", "read_package", "write_atomically", "write_package",
]  # fmt: skip

_LARGEST_FILE = 256 * 2**20
_NAME, _VERSION = re.compile(NAME_PATTERN), re.compile(VERSION_PATTERN)


class PackageError(Exception):
    """A model package is missing, incomplete or not what its manifest says."""


@dataclass(frozen=True)
class ModelPackage:
    """A model package whose manifest has been read; files are checked as they are read."""

    directory: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self.manifest.version

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each logit, in order."""
        return self.manifest.labels

    @property
    def height(self) -> int:
        """Of the images, in pixels."""
        return self.manifest.input.height

    @property
    def width(self) -> int:
        """Of the images, in pixels."""
        return self.manifest.input.width

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image file becomes what the network reads."""
        return self.manifest.preprocessing

    @property
    def typicality(self) -> TypicalityCalibration | None:
        """The calibration of the typicality score; None where predictions have none."""
        return self.manifest.typicality

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all files: two packages with one digest answer alike."""
        files = self.manifest.files
        return _sha256("".join(f"{name}:{files[name]}\n" for name in sorted(files)).encode())

    def read(self, file: str) -> bytes:
        """Returns a file's bytes.

        Raises:
            PackageError: The file is missing or does not match its digest.
        """
        path = self.directory / file
        try:
            content = _read_regular_file(path, _LARGEST_FILE)
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror}.") from error
        if _sha256(content) != self.manifest.files[file]:
            raise PackageError(
                f"{path} does not match the SHA-256 in {MANIFEST}: it is damaged or was changed. Export "
                f"the model again, or restore the package."
            )
        return content


def read_package(directory: Path) -> ModelPackage:
    """Opens a package and checks its manifest.

    Raises:
        PackageError: There is no usable manifest in `directory`.
    """
    path = directory / MANIFEST
    try:
        return ModelPackage(directory, parse_manifest(_read_regular_file(path, MOST_BYTES)))
    except FileNotFoundError as error:
        raise PackageError(f"{directory} holds no model package: no {MANIFEST}.") from error
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}.") from error
    except ManifestError as error:
        raise PackageError(f"{path} {error}.") from error


def write_package(
    directory: Path, description: Mapping[str, Any], files: Mapping[str, bytes]
) -> ModelPackage:
    """Writes a package whole or not at all.

    Args:
        directory: NAME/VERSION; its last two parts become the model's name and version. It must not
            exist: a version, once written, does not change.
        description: Everything of the manifest except name, version and digests.
        files: The bytes of each of `FILES`, perhaps of `PROTOTYPES` too.

    Raises:
        PackageError: The directory exists, its name is not usable as NAME/VERSION, or the description is
            not what a manifest may say.
    """
    directory = directory.absolute()
    name, version = directory.parts[-2:]
    if not is_package_path(directory):
        raise PackageError(
            f"A package's path ends in NAME/VERSION, letters and digits, then a number; got {name}/{version}."
        )
    if directory.exists():
        raise PackageError(f"{directory} exists already. Choose the next version number.")
    document = {"name": name, "version": version, **description}
    document["files"] = {file: _sha256(content) for file, content in files.items()}
    try:
        manifest = to_manifest(document)
    except ManifestError as error:
        raise PackageError(f"The manifest of {directory} {error}.") from error
    temporary = directory.with_name(f".{version}.part")
    temporary.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (temporary / file).write_bytes(content)
    (temporary / MANIFEST).write_text(json.dumps(manifest.to_dict(), indent=2) + "\n")
    temporary.rename(directory)
    return read_package(directory)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a kill, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def is_package_path(path: Path) -> bool:
    """Tells whether a path ends in NAME/VERSION, as packages are called."""
    name, version = path.parts[-2:]
    return bool(_NAME.fullmatch(name) and _VERSION.fullmatch(version))


def _read_regular_file(path: Path, most: int) -> bytes:
    """Returns a file's bytes; a pipe would never end, and a link to a device neither.

    Raises:
        OSError: It cannot be read, is no regular file, or is larger than `most` bytes.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
        return file.read(most)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
