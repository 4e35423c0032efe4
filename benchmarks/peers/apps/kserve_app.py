"""KServe: V1 as JSON, V2 with binary tensors. Its batcher is a sidecar on Kubernetes; the server has none."""

import os

import numpy as np
import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class Digits(Model):
    def __init__(self):
        super().__init__("mnist-3v5")
        self.load()

    def load(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["GRAPH"], options, providers=["CPUExecutionProvider"])
        self.ready = True
        return self.ready

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, InferRequest):
            return self.infer(payload)
        images = np.asarray(payload["instances"], np.float32)[:, None]
        logits, probabilities = self.session.run(["logits", "probabilities"], {"image": images})
        labels = logits.argmax(1).tolist()
        return {
            "predictions": [
                {"label": label, "probabilities": each}
                for label, each in zip(labels, probabilities.tolist(), strict=True)
            ]
        }

    def infer(self, request):
        (logits,) = self.session.run(["logits"], {"image": request.inputs[0].as_numpy()})
        output = InferOutput("logits", list(logits.shape), "FP32")
        output.set_data_from_numpy(logits, binary_data=request.use_binary_outputs)
        return InferResponse(
            request.id or generate_uuid(),
            self.name,
            [output],
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )


if __name__ == "__main__":
    ModelServer().start([Digits()])
