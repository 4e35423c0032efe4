"""BentoML: adaptive batching, up to 32 images.

Its window adapts itself. `max_latency_ms` isn't that window but the latency above which requests are
refused with 503, so it keeps its default: at 2 ms nearly every request would be refused.
"""

import os
from typing import Annotated

import bentoml
import numpy as np
import onnxruntime as ort
from bentoml.validators import DType, Shape

Images = Annotated[np.ndarray, DType("float32"), Shape((-1, 28, 28))]


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["GRAPH"], options, providers=["CPUExecutionProvider"])

    @bentoml.api(batchable=True, max_batch_size=32)
    def predict(self, images: Images) -> list[dict]:
        logits, probabilities = self.session.run(["logits", "probabilities"], {"image": images[:, None]})
        labels = logits.argmax(1).tolist()
        return [
            {"label": label, "probabilities": each}
            for label, each in zip(labels, probabilities.tolist(), strict=True)
        ]
