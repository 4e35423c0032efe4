"""LitServe: batches of up to 32 images, formed within 2 ms."""

import os
import sys

import litserve as ls
import numpy as np
import onnxruntime as ort


class Digits(ls.LitAPI):
    def setup(self, device):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["GRAPH"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.asarray(request["image"], np.float32)[None]

    def predict(self, images):
        logits, probabilities = self.session.run(["logits", "probabilities"], {"image": images})
        return list(zip(logits.argmax(1).tolist(), probabilities.tolist(), strict=True))

    def encode_response(self, output):
        label, probabilities = output
        return {"label": label, "probabilities": probabilities}


if __name__ == "__main__":
    api = Digits(max_batch_size=32, batch_timeout=0.002)
    server = ls.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
