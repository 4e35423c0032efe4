"""From a finished run to a model package: weights, torch.export program, two ONNX graphs, manifest."""

from training.export.from_run import export_from
from training.export.graphs import onnx_graph, package_files

__all__ = ["export_from", "onnx_graph", "package_files"]
