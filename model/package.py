"""A model package on disk: what `whitebox export` writes and the service and the attacks read.

    NAME/VERSION/
        manifest.json        name, version, labels, config, digests, how it was trained, results
        weights.safetensors  the parameters
        network.pt2          torch.export program, dynamic batch
        predict.onnx         image -> logits, probabilities, typicality_score
        explain.onnx         image -> everything that a trace holds

This module needs neither torch nor onnxruntime. Files are read only through `ModelPackage.read`, which
gives bytes that match the manifest's digest or refuses.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
PROGRAM = "network.pt2"
PREDICT_GRAPH = "predict.onnx"
EXPLAIN_GRAPH = "explain.onnx"
# The output of predict.onnx in packages with a typicality.
TYPICALITY_SCORE = "typicality_score"
FILES = (WEIGHTS, PROGRAM, PREDICT_GRAPH, EXPLAIN_GRAPH)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REQUIRED = ("name", "version", "labels", "config", "files")
# Keys of manifests that earlier versions wrote, and their names today.
_RENAMED = {"learnable_numbers": "num_parameters"}
# Configs of earlier versions do not say the size of the images, which was MNIST's.
_UNRECORDED_SIZE = {"height": 28, "width": 28}

Label = int | str


class PackageError(Exception):
    """A model package is missing, incomplete or not what its manifest says."""


@dataclass(frozen=True)
class ModelPackage:
    """A model package whose manifest has been read; files are checked as they are read."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The model's version."""
        return str(self.manifest["version"])

    @property
    def labels(self) -> tuple[Label, ...]:
        """The label of each logit, in order."""
        return tuple(self.manifest["labels"])

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all files: two packages with one digest answer alike."""
        files = self.manifest["files"]
        return _sha256("".join(f"{name}:{files[name]}\n" for name in sorted(files)).encode())

    def read(self, file: str) -> bytes:
        """Returns a file's bytes.

        Raises:
            PackageError: The file is missing or does not match its digest.
        """
        path = self.directory / file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise PackageError(f"{path} cannot be read: {error.strerror}.") from error
        if _sha256(content) != self.manifest["files"][file]:
            raise PackageError(
                f"{path} does not match the SHA-256 in {MANIFEST}: it is damaged or was changed. Export "
                f"the model again, or restore the package."
            )
        return content


def with_image_size(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network's config with the height and width of its images."""
    return {**_UNRECORDED_SIZE, **config}


def read_package(directory: Path) -> ModelPackage:
    """Opens a package and checks that its manifest is complete and names every file's digest.

    Raises:
        PackageError: There is no usable manifest in `directory`.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise PackageError(f"{directory} holds no model package: no {MANIFEST}.") from error
    except ValueError as error:
        raise PackageError(f"{path} is not JSON: {error}.") from error
    missing = [key for key in _REQUIRED if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise PackageError(f"{path} lacks {', '.join(missing)}.")
    without_digest = [name for name in FILES if name not in manifest["files"]]
    if without_digest:
        raise PackageError(f"{path} gives no digest for {', '.join(without_digest)}.")
    return ModelPackage(directory, {_RENAMED.get(key, key): value for key, value in manifest.items()})


def write_package(
    directory: Path, description: Mapping[str, Any], files: Mapping[str, bytes]
) -> ModelPackage:
    """Writes a package whole or not at all.

    Args:
        directory: NAME/VERSION; its last two parts become the model's name and version. It must not
            exist: a version, once written, does not change.
        description: Everything of the manifest except name, version and digests.
        files: The bytes of each of `FILES`.

    Raises:
        PackageError: The directory exists, or its name is not usable as NAME/VERSION.
    """
    directory = directory.absolute()
    name, version = directory.parts[-2:]
    if not (_NAME.fullmatch(name) and version.isdecimal()):
        raise PackageError(
            f"A package's path ends in NAME/VERSION, letters and digits, then a number; got {name}/{version}."
        )
    if directory.exists():
        raise PackageError(f"{directory} exists already. Choose the next version number.")
    manifest = {"name": name, "version": version, **description}
    manifest["files"] = {file: _sha256(files[file]) for file in FILES}
    temporary = directory.with_name(f".{version}.part")
    temporary.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        (temporary / file).write_bytes(files[file])
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
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


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
