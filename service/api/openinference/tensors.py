"""The Open Inference Protocol V2's tensors as arrays: JSON, and its binary extension.

https://github.com/open-inference/open-inference-protocol: a binary body is the JSON, whose length a header
tells, followed by the raw little-endian bytes of the tensors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from starlette.responses import Response

from model.package import ModelPackage
from service.api.openinference.schemas import InferInput, InferRequest
from service.codecs.json_images import refuse_blank
from service.codecs.serialization import to_json
from service.errors import invalid_at
from service.inference.engine import Array, Engine, Images

JSON_LENGTH = "Inference-Header-Content-Length"
IMAGE = "image"
_BINARY = "application/octet-stream"
# What an image may come as; UINT8 is 0..255, as files have it, all others 0..1.
_IMAGE_TYPES: Mapping[str, type[np.generic]] = {
    "FP32": np.float32,
    "FP64": np.float64,
    "FP16": np.float16,
    "UINT8": np.uint8,
}
_NAMES = {"float32": "FP32", "int64": "INT64", "float64": "FP64"}
_DEFAULT_OUTPUTS = ("label", "logits", "probabilities")


class RequestedOutput(NamedTuple):
    """An output that a request asks for, and whether it goes as raw bytes."""

    name: str
    binary: bool


def split_body(body: bytes, json_length: str | None) -> tuple[bytes, memoryview]:
    """Returns the JSON of a body and the binary part behind it.

    Raises:
        InvalidInput: The header is no length within the body.
    """
    if json_length is None:
        return body, memoryview(b"")
    if not (json_length.isascii() and json_length.isdigit()) or int(json_length) > len(body):
        raise invalid_at([JSON_LENGTH], f"{json_length!r} is no length within a body of {len(body)} bytes")
    end = int(json_length)
    return body[:end], memoryview(body)[end:]


def image_tensor(request: InferRequest, binary: memoryview, most: int, size: tuple[int, int]) -> Images:
    """Returns the images (N, H, W) of a request, float32 in [0, 1], of the model's size.

    Raises:
        InvalidInput: The inputs are not the one tensor `image`, or it is not images, or blank ones.
    """
    if [one.name for one in request.inputs] != [IMAGE]:
        names = ", ".join(repr(one.name) for one in request.inputs)
        raise invalid_at(["inputs"], f"the model takes one input, {IMAGE!r}, not {names}")
    (given,) = request.inputs
    place: list[str | int] = ["inputs", 0]
    _check_shape(given, place, most, size)
    if (byte_count := given.parameters.get("binary_data_size")) is None:
        if len(binary):
            raise invalid_at([*place, "parameters"], "bytes follow the JSON, but binary_data_size is missing")
        values = _from_json(given, place)
    else:
        values = _from_bytes(given, byte_count, binary, place)
    images = _in_unit_range(given.datatype, values, place).reshape(-1, *size)
    refuse_blank(images, [*place, "data"])
    return images


def requested_outputs(request: InferRequest, engine: Engine) -> list[RequestedOutput]:
    """Returns the outputs that a request asks for, or the usual ones.

    Raises:
        InvalidInput: The model has no such output, or a parameter is not supported.
    """
    all_binary = request.parameters.get("binary_data_output") is True
    if request.outputs is None:
        return [RequestedOutput(name, all_binary) for name in _DEFAULT_OUTPUTS]
    known = {"label", *(one["name"] for one in engine.outputs())}
    for index, one in enumerate(request.outputs):
        if one.name not in known:
            raise invalid_at(
                ["outputs", index, "name"], f"{one.name!r} is none of {', '.join(sorted(known))}"
            )
        if one.parameters.get("classification"):
            raise invalid_at(
                ["outputs", index, "parameters"], "classification is not supported; ask for label"
            )
    return [
        RequestedOutput(one.name, one.parameters.get("binary_data", all_binary) is True)
        for one in request.outputs
    ]


def infer_response(
    package: ModelPackage,
    request_id: str | None,
    requested: Sequence[RequestedOutput],
    tensors: Mapping[str, Array],
) -> Response:
    """Writes an `InferResponse`, tensors as JSON or as bytes behind it."""
    outputs, raw = [], []
    for name, binary in requested:
        values = np.ascontiguousarray(tensors[name])
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(values),
            "shape": list(values.shape),
        }
        if binary:
            raw.append(_raw(values))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            output["data"] = values.ravel() if values.dtype.kind != "U" else values.ravel().tolist()
        outputs.append(output)
    content: dict[str, Any] = {
        "model_name": package.name,
        "model_version": package.version,
        "outputs": outputs,
    }
    if request_id is not None:
        content["id"] = request_id
    head = to_json(content)
    if not raw:
        return Response(head, media_type="application/json")
    headers = {JSON_LENGTH: str(len(head))}
    return Response(b"".join([head, *raw]), headers=headers, media_type=_BINARY)


def datatype_of(values: Array) -> str:
    """Returns the protocol's name of an array's type; text is BYTES."""
    return "BYTES" if values.dtype.kind == "U" else _NAMES[values.dtype.name]


def _raw(values: Array) -> bytes:
    """Returns the bytes of a tensor; of text each element as UTF-8 behind its length."""
    if values.dtype.kind != "U":
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [text.encode() for text in values.ravel().tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _check_shape(given: InferInput, place: list[str | int], most: int, size: tuple[int, int]) -> None:
    if given.datatype not in _IMAGE_TYPES:
        raise invalid_at([*place, "datatype"], f"{given.datatype!r} is none of {', '.join(_IMAGE_TYPES)}")
    images, *rest = given.shape
    if rest not in ([1, *size], [*size]) or images < 1:
        height, width = size
        raise invalid_at(
            [*place, "shape"], f"{given.shape} is not [N, 1, {height}, {width}] or [N, {height}, {width}]"
        )
    if images > most:
        raise invalid_at([*place, "shape"], f"{images} images are too many, at most {most} are allowed")


def _from_json(given: InferInput, place: list[str | int]) -> Array:
    if given.data is None:
        raise invalid_at([*place, "data"], "there is neither data nor binary_data_size")
    try:
        values = np.asarray(given.data)
    except ValueError:
        raise invalid_at([*place, "data"], "rows differ in length") from None
    if values.dtype.kind not in "iuf":
        raise invalid_at([*place, "data"], "not all of it is numbers")
    if values.ndim > 1 and list(values.shape) != given.shape:
        raise invalid_at([*place, "data"], f"nested as {list(values.shape)}, the shape says {given.shape}")
    if values.size != math.prod(given.shape):
        raise invalid_at([*place, "data"], f"{values.size} numbers, the shape says {math.prod(given.shape)}")
    if given.datatype == "UINT8" and (values.dtype.kind == "f" or values.min() < 0 or values.max() > 255):
        raise invalid_at([*place, "data"], "UINT8 is whole numbers, 0 to 255")
    return values


def _from_bytes(given: InferInput, size: object, binary: memoryview, place: list[str | int]) -> Array:
    kind = np.dtype(_IMAGE_TYPES[given.datatype]).newbyteorder("<")
    expected = math.prod(given.shape) * kind.itemsize
    if given.data is not None:
        raise invalid_at([*place, "data"], "there is data and binary_data_size too")
    if size != expected or len(binary) != expected:
        raise invalid_at(
            [*place, "parameters", "binary_data_size"],
            f"{size!r}, with {len(binary)} bytes behind the JSON; the shape needs {expected}",
        )
    return np.frombuffer(binary, kind)


def _in_unit_range(datatype: str, values: Array, place: list[str | int]) -> Images:
    if datatype == "UINT8":
        return values.astype(np.float32) / np.float32(255)
    least, most = values.min(), values.max()
    if not (least >= 0 and most <= 1):  # NaN fails both
        raise invalid_at([*place, "data"], f"not all in [0, 1]: {least:g} to {most:g}")
    return values.astype(np.float32, copy=False)
