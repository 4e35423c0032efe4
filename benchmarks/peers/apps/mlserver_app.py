"""MLServer: a custom runtime; its adaptive batching is set by MLSERVER_MODEL_MAX_BATCH_* (registry.py)."""

import os

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Digits(MLModel):
    async def load(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["GRAPH"], options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        images = NumpyCodec.decode_input(payload.inputs[0])
        logits, probabilities = self.session.run(["logits", "probabilities"], {"image": images})
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("logits", logits),
                NumpyCodec.encode_output("probabilities", probabilities),
            ],
        )
