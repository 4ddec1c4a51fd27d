"""LitServe, as its guide to speed has it: photos as base64 in JSON, requests gathered to batches.

    litserve_service.py PORT WORKERS
"""
import base64
import sys

import litserve
import numpy as np
from model import Model


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.model = Model()

    def decode_request(self, request):
        return self.model.prepare(base64.b64decode(request["image_data"]))

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, x):
        return self.model.probabilities(x)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return self.model.answer(output)


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(max_batch_size=8, batch_timeout=0.01),
                                accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False,
               log_level="warning")
