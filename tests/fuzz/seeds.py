#!/usr/bin/env python3
"""Writes the fuzzers' seed corpora into a folder, one for each, from the repository's own files."""
import base64
import json
import pathlib
import shutil
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(sys.argv[1])
count = 0


def seed(fuzzer, data):
    global count
    folder = OUT / fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed{count:03}").write_bytes(data)
    count += 1


def tensors(entries, data=b""):
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


shutil.rmtree(OUT, ignore_errors=True)
photos = [p.read_bytes() for p in sorted((ROOT / "tests/golden/preprocess").iterdir())
          if p.suffix not in (".json", ".safetensors") and p.stat().st_size < 60000]
small = min(photos, key=len)
for photo in photos:
    seed("image", photo)

for dtype, size in (("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8)):
    seed("safetensors", tensors({"a": {"dtype": dtype, "shape": [2, 1], "data_offsets": [0, 2 * size]},
                                 "__metadata__": {"format": "pt"}}, bytes(2 * size)))
seed("safetensors", tensors({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
                             "b": {"dtype": "U8", "shape": [0], "data_offsets": [4, 4]}}, bytes(4)))

part = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
form = b"--X\r\n" + part + small + b"\r\n--X\r\n" + part + b"b\r\n--X--\r\n"
encoded = base64.b64encode(small).decode()
seed("upload", b"\x01" + form)
seed("upload", b"\x02" + form.replace(b"--X", b"--a b"))
seed("upload", b"\x80 boundary=X\n" + form)
seed("upload", b"\x03" + small)
seed("upload", b"\x00" + json.dumps({"image": {"b64": encoded, "filename": "\u00e9.png"}}).encode())
seed("upload", b"\x00" + json.dumps({"images": [{"b64": encoded}, {"b64": encoded[:8]}]}).encode())

for query in ("topk=3&excitations=full&layers=0,layer1.0,SE_2_1", "layer=1&id=abc", "relative=1&class=cat",
              "block=all&mode=value&value=0.5&channels=10", "format=npz", "mode=mean", "topk", "="):
    seed("query", query.encode())

shape = {"name": "input", "datatype": "FP32", "shape": [1, 3, 64, 64]}
outputs = [{"name": "logits", "parameters": {"classification": 3}}, {"name": "probabilities"}]
for size in (32, 64, 224):
    shape["shape"] = [1, 3, size, size]
    document = json.dumps({"id": "1", "inputs": [dict(shape, parameters={"binary_data_size": 12 * size * size})],
                           "outputs": outputs}).encode()
    seed("v2", struct.pack("<H", len(document)) + document + bytes(12 * size * size))
image = dict(shape, datatype="BYTES", shape=[1, 1])
document = json.dumps({"inputs": [dict(image, parameters={"binary_data_size": 4 + len(small)})]}).encode()
seed("v2", struct.pack("<H", len(document)) + document + struct.pack("<I", len(small)) + small)
seed("v2", b"\xff\xff" + json.dumps({"inputs": [dict(image, data=[encoded])]}).encode())
seed("v2", b"\xff\xff" + json.dumps({"inputs": [dict(shape, data=[0.5, [1, 2]])]}).encode())
seed("v2", b"\x00\x00" + small)

for head in ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
             "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
             "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             "GET / HTTP/1.1\nHost: x\nX: a\r\n b\r\n\r\n"):
    seed("framing", head.encode())
print(f"{count} seeds in {OUT}")
