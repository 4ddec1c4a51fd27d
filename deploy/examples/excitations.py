"""Fetch an image's excitations as numpy arrays and show each block's.

    python3 excitations.py cat.jpg [http://localhost:8080]      (needs requests and numpy)
"""
import io
import sys

import numpy
import requests

photo, server = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "http://localhost:8080"
with open(photo, "rb") as file:
    answer = requests.post(f"{server}/classify?format=npz", files={"image": file}, timeout=60)
answer.raise_for_status()
arrays = numpy.load(io.BytesIO(answer.content))
for name in arrays.files[1:]:  # after the logits an array a block, [images, channels]
    gates = arrays[name][0]
    print(f"{name:10} {gates.size:5} gates, mean {gates.mean():.3f}, most open: {gates.argmax()}")
