"""What an ONNX graph of a package may hold: what is refused before onnxruntime sees it.

An exported network is a straight line of operators over numbers that stand in the file. Refused are

- tensors in other files, which no digest covers and which may be any file of the machine;
- subgraphs (Loop, Scan, If), with which a graph may run for ever on an image of its choice;
- functions, with which a small file may unfold into a huge graph, and training steps.

Fields are numbered as in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Mapping

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from model.package import PackageError

# Where tensors are found: message -> field -> message.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor"},
    "tensor": {},
}
_REFUSED: Mapping[str, Mapping[int, str]] = {
    "model": {20: "training steps", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "node": {},
    "attribute": {6: "a subgraph", 11: "a subgraph", 22: "sparse tensors", 23: "sparse tensors"},
    "tensor": {13: "a tensor in another file", 14: "a tensor in another file"},
}
_IN_THIS_FILE = 0  # the default of field 14, written out by some


def check_graph(file: str, graph: bytes) -> None:
    """Checks that a graph holds nothing that is refused.

    Raises:
        PackageError: It does, or it is no ONNX graph.
    """
    try:
        refused = _refused_in("model", graph)
    except DecodeError as error:
        raise PackageError(f"{file} is no ONNX graph.") from error
    if refused is not None:
        raise PackageError(f"{file} holds {refused}, which is refused.")


def _refused_in(message: str, content: bytes) -> str | None:
    # A message without fields of its own: protobuf keeps all of them, unparsed, as unknown.
    for field in UnknownFieldSet(Empty.FromString(content)):
        number, value = field.field_number, field.data
        if number in _REFUSED[message] and value != _IN_THIS_FILE:
            return _REFUSED[message][number]
        if number in _INSIDE[message] and isinstance(value, bytes):
            refused = _refused_in(_INSIDE[message][number], value)
            if refused is not None:
                return refused
    return None
