"""The manifest of a model package: its schema, with limits, and how older ones are read.

A package may come from anywhere, so its manifest is data of a stranger: whatever it holds, reading it takes
little time and memory, and ends with a `Manifest` that can be shown as JSON or with one `ManifestError`.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from model.network_config import Label, NetworkConfig, Side

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
PROGRAM = "network.pt2"
PREDICT_GRAPH = "predict.onnx"
EXPLAIN_GRAPH = "explain.onnx"
FILES = (WEIGHTS, PROGRAM, PREDICT_GRAPH, EXPLAIN_GRAPH)
# What the typicality score compares with, for those that bound it; a package may lack it.
PROTOTYPES = "prototypes.safetensors"
# The third output of predict.onnx, where there is one.
TYPICALITY_SCORE = "typicality_score"

MOST_BYTES = 2**20
_DEEPEST, _MOST_VALUES, _LONGEST_TEXT = 16, 50_000, 4096
_MOST_LABELS = 100
# A network's templates are held as float32: 2**25 numbers are 128 MB.
_MOST_TEMPLATE_VALUES = 2**25
_LARGEST_INTEGER = 2**63 - 1

# Keys of manifests that earlier versions wrote, and their names today.
_RENAMED = {"learnable_numbers": "num_parameters"}
_MNIST_FORM = {"name": "handwritten-digit", "box": 20}
_RESIZE = {"name": "resize"}

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
VERSION_PATTERN = r"(?:0|[1-9][0-9]{0,8})"
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
Version = Annotated[str, Field(pattern=f"^{VERSION_PATTERN}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Setting = (
    bool
    | Annotated[int, Field(ge=-(2**53), le=2**53)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[str, Field(max_length=64)]
)
ManifestLabel = (
    Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[str, Field(min_length=1, max_length=64)]
)


class ManifestError(ValueError):
    """A manifest is not what the schema asks for; the message says where and why."""


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class InputSize(_Section):
    """The size of the images that a model takes, in pixels."""

    height: Side
    width: Side


class Preprocessing(_Section):
    """How an image file becomes what the network reads: a name and settings of its own beside it."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Setting]

    name: Literal["handwritten-digit", "resize"]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, without the name."""
        return dict(self.__pydantic_extra__)


class TypicalityWeights(_Section):
    """What the terms of a typicality score count (`model.typicality.Weights`)."""

    similarity: float
    ink: float


class TypicalityCalibration(_Section):
    """What a manifest says of the typicality score.

    Attributes:
        output: Of predict.onnx, the score of each image.
        weights: Of the score's terms.
        prototypes: How many the score compares with.
        shift: What p-values are multiplied by (`model.conformal`).
        calibration: Scores of held-out genuine images, from the smallest.
    """

    output: Literal["typicality_score"]
    weights: TypicalityWeights
    prototypes: Annotated[int, Field(ge=1, le=100_000)]
    shift: Annotated[float, Field(ge=1, le=1000)]
    calibration: Annotated[tuple[float, ...], Field(min_length=1, max_length=10_000)]

    @field_validator("calibration")
    @classmethod
    def _ascend(cls, scores: tuple[float, ...]) -> tuple[float, ...]:
        if any(before > after for before, after in pairwise(scores)):
            raise ValueError("the scores have to ascend")
        return scores


class Manifest(_Section):
    """Everything that a package says of itself.

    Attributes:
        name: Of the model.
        version: Of the model, a number.
        labels: The label of each logit, in order.
        config: The network's sizes.
        input: The size of the images.
        preprocessing: How image files become images.
        typicality: Calibration of the third output of predict.onnx, if it has one.
        num_parameters: How many parameters training could change.
        recipe: Carried as it is, like `training` and `results`.
        training: Recipe, seed, data and code that made it.
        results: What was measured of it.
        files: SHA-256 of each of `FILES`, and of `PROTOTYPES` if it has them.
    """

    name: Name
    version: Version
    labels: Annotated[tuple[ManifestLabel, ...], Field(min_length=2, max_length=_MOST_LABELS)]
    config: NetworkConfig
    input: InputSize
    preprocessing: Preprocessing
    typicality: TypicalityCalibration | None = None
    num_parameters: Annotated[int, Field(ge=0, le=10**9)] | None = None
    recipe: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    results: dict[str, Any] | None = None
    files: dict[str, Sha256]

    @field_validator("labels")
    @classmethod
    def _tell_classes_apart(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        # Answers name classes by these texts; one that does not print would be a forged line in a log.
        if len({str(label) for label in labels}) < len(labels):
            raise ValueError("each label may stand once")
        if not all(str(label).isprintable() for label in labels):
            raise ValueError("a label has to be printable")
        return labels

    @field_validator("files")
    @classmethod
    def _name_each_file(cls, files: dict[str, str]) -> dict[str, str]:
        if missing := [file for file in FILES if file not in files]:
            raise ValueError(f"there is no digest for {', '.join(missing)}")
        if unknown := sorted(set(files) - {*FILES, PROTOTYPES}):
            raise ValueError(f"a package has no file {PurePosixPath(unknown[0]).name[:64]!r}")
        return files

    @model_validator(mode="after")
    def _agree(self) -> "Manifest":
        config = self.config
        if config.labels != self.labels:
            raise ValueError("labels and config.labels differ")
        if (config.height, config.width) != (self.input.height, self.input.width):
            raise ValueError("input and config differ in height or width")
        if config.kernel_size % 2 == 0:
            raise ValueError("config.kernel_size has to be odd")
        if config.num_template_values() > _MOST_TEMPLATE_VALUES:
            raise ValueError(f"config asks for templates of more than {_MOST_TEMPLATE_VALUES:,} numbers")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Returns the manifest as plain JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)


def parse_manifest(content: bytes) -> Manifest:
    """Reads the bytes of a manifest, of this or an earlier version.

    Raises:
        ManifestError: They are no manifest, or too large.
    """
    if len(content) > MOST_BYTES:
        raise ManifestError(f"is larger than {MOST_BYTES:,} bytes")
    try:
        document = pydantic_core.from_json(content, allow_inf_nan=False)  # refuses 200 levels and more
    except ValueError as error:
        raise ManifestError(f"is not JSON: {error}") from error
    return to_manifest(document)


def to_manifest(document: Any) -> Manifest:  # noqa: ANN401
    """Returns the manifest that JSON values make.

    Raises:
        ManifestError: They do not make one.
    """
    if not isinstance(document, dict):
        raise ManifestError("is not a JSON object")
    _check_limits(document)
    try:
        # As JSON, in which a list is as good as a tuple, strict as the rest is.
        return Manifest.model_validate_json(json.dumps(_of_today(document)))
    except ValidationError as error:
        raise ManifestError(_in_words(error)) from error


def _check_limits(document: dict[str, Any]) -> None:
    """Refuses what could be read, but not be shown again cheaply and as JSON."""
    level: list[Any] = [document]
    count = 0
    for _ in range(_DEEPEST):
        count += len(level)
        if count > _MOST_VALUES:
            raise ManifestError(f"holds more than {_MOST_VALUES:,} values")
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise ManifestError(f"is nested more than {_DEEPEST} levels deep")


def _children(value: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        raise ManifestError(f"holds a text of more than {_LONGEST_TEXT:,} characters")
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise ManifestError("holds an integer of more than 64 bits")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ManifestError("holds a number that is not finite")
    return []


def _of_today(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a manifest under today's names, with what earlier versions left to be known."""
    manifest = {_RENAMED.get(key, key): value for key, value in document.items()}
    shape = _object(manifest.get("input")).get("shape")  # it gave a tensor's name and shape
    if isinstance(shape, list) and len(shape) == 4:
        manifest["input"] = size = {"height": shape[2], "width": shape[3]}
        manifest["config"] = {**size, **_object(manifest.get("config"))}
    manifest.setdefault("preprocessing", _MNIST_FORM if _is_of_mnist(manifest) else _RESIZE)
    return manifest


def _is_of_mnist(manifest: Mapping[str, Any]) -> bool:
    data = _object(_object(manifest.get("training")).get("data"))
    return str(data.get("source")).startswith("MNIST")


def _object(value: Any) -> Mapping[str, Any]:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


def _in_words(error: ValidationError) -> str:
    missing = [".".join(map(str, each["loc"])) for each in error.errors() if each["type"] == "missing"]
    if missing:
        return f"lacks {', '.join(missing)}"
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part)[:64] for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"is refused at {place}: {message}" if place else f"is refused: {message}"
