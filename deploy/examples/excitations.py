"""Fetch an image's excitations and show which blocks are furthest from ordinary photos.

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
for name, gates in numpy.load(io.BytesIO(answer.content)).items():
    print(f"{name:10} {gates.shape[1]:5} values  mean {gates.mean():8.3f}  std {gates.std():7.3f}")
