"""Packages that mean harm, made of a shipped one: each with digests that are right."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from running import PACKAGE

from model.package_directory import newest_package

Change = Callable[[Path], None]


def put(models: Path, name: str, change: Change, version: str = "1") -> None:
    """Puts a changed copy of the shipped package into a model directory, whole at once."""
    hidden = models / name / f".{version}"
    shutil.copytree(PACKAGE, hidden)
    manifest(name=name, version=version)(hidden)
    change(hidden)
    hidden.rename(models / name / version)


def manifest(**changes: object) -> Change:
    """Returns the change of a manifest's values; `config__labels` are the labels in config."""

    def change(directory: Path) -> None:
        content = json.loads((directory / "manifest.json").read_text())
        for path, value in changes.items():
            *outer, key = path.split("__")
            target = content
            for part in outer:
                target = target[part]
            target[key] = value
        (directory / "manifest.json").write_text(json.dumps(content))

    return change


def file(name: str, content: bytes) -> Change:
    """Returns the change of one file, with its digest."""

    def change(directory: Path) -> None:
        (directory / name).write_bytes(content)
        manifest(**{f"files__{name}": hashlib.sha256(content).hexdigest()})(directory)

    return change


def graph(change: Callable[[onnx.GraphProto], None]) -> Change:
    """Returns the change of predict.onnx, with its digest."""
    model = onnx.load(PACKAGE / "predict.onnx")
    change(model.graph)
    return file("predict.onnx", model.SerializeToString())


def nothing(_: Path) -> None:
    """Changes nothing but name and version."""


def deeply_nested(directory: Path) -> None:
    """Makes the manifest a list in a list, and so on."""
    (directory / "manifest.json").write_bytes(b"[" * 100_000)


def endless_loop(into: onnx.GraphProto) -> None:
    """Puts a loop without an end before the network."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    into.initializer.append(numpy_helper.from_array(np.array(2**62), "turns"))
    into.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    _before(into, [helper.make_node("Loop", ["turns", "yes", "image"], ["harmless"], body=body)])


def slow_operators(into: onnx.GraphProto) -> None:
    """Puts hours of matrix products before the network, in a few hundred bytes."""
    into.initializer.append(numpy_helper.from_array(np.array([3000, 3000]), "size"))
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean_ink"], keepdims=0),
        helper.make_node("Expand", ["mean_ink", "size"], ["m0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(1000)]
    nodes += [
        helper.make_node("ReduceMin", ["m1000"], ["least"], keepdims=0),
        helper.make_node("Add", ["image", "least"], ["harmless"]),
    ]
    _before(into, nodes)


def huge_tensor(into: onnx.GraphProto) -> None:
    """Puts 160 GB before the network."""
    into.initializer.append(numpy_helper.from_array(np.array([200_000, 200_000]), "size"))
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean_ink"], keepdims=0),
        helper.make_node("Expand", ["mean_ink", "size"], ["huge"]),
        helper.make_node("ReduceMin", ["huge"], ["least"], keepdims=0),
        helper.make_node("Add", ["image", "least"], ["harmless"]),
    ]
    _before(into, nodes)


def external_data(location: str) -> Callable[[onnx.GraphProto], None]:
    """Returns the change that takes the first tensor's numbers from another file."""

    def change(of: onnx.GraphProto) -> None:
        tensor = max(of.initializer, key=lambda one: len(one.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def another_networks_graph(directory: Path) -> None:
    """Makes the prediction one of another model, with another number of classes."""
    other = newest_package(PACKAGE.parents[1], "mnist-10").directory / "predict.onnx"
    file("predict.onnx", other.read_bytes())(directory)


def _before(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Puts nodes that make `harmless` of `image` before all others, which take it for the image."""
    for node in graph.node:
        node.input[:] = ["harmless" if name == "image" else name for name in node.input]
    kept = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(kept)
