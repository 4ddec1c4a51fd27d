"""What both Python services do with a photo: Pillow and numpy prepare it, ONNX Runtime computes.

MODEL is an .onnx file, CONFIG the model's config.json, THREADS the cores of one inference.
"""
import io
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "lanczos": Image.LANCZOS}


class Model:
    def __init__(self):
        config = json.loads(Path(os.environ["CONFIG"]).read_text())["pretrained_cfg"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["THREADS"])
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options,
                                                    ["CPUExecutionProvider"])
        self.side = config["input_size"][1]
        self.shorter = int(self.side / config["crop_pct"])
        self.filter = FILTERS[config["interpolation"]]
        self.mean, self.std = (np.array(config[key], np.float32) for key in ("mean", "std"))

    def prepare(self, photo):
        """Encoded bytes -> [1][3][side][side], as timm's transform for evaluation does it."""
        image = Image.open(io.BytesIO(photo)).convert("RGB")
        scale = self.shorter / min(image.size)
        image = image.resize([max(self.shorter, int(scale * s)) for s in image.size], self.filter)
        left, top = ((s - self.side) // 2 for s in image.size)
        image = image.crop((left, top, left + self.side, top + self.side))
        pixels = (np.asarray(image, np.float32) / 255 - self.mean) / self.std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])

    def probabilities(self, x):
        """[n][3][side][side] -> [n][classes]"""
        logits = self.session.run(None, {"input": x})[0]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    @staticmethod
    def answer(probabilities):
        best = probabilities.argsort()[::-1][:5]
        return {"top_k": [{"index": int(i), "probability": float(probabilities[i])} for i in best]}
