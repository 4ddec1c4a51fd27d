#!/usr/bin/env python3
"""Writes the fuzzers' seed corpora into a folder, one for each, from the repository's own files."""
import base64
import hashlib
import json
import math
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
psd = next(photo for photo in photos if photo.startswith(b"8BPS"))
seed("image", psd[:12] + b"\0\4" + psd[14:] + psd[-2440:])  # its blue once more, as alpha

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
             "GET http://x:80/classify?topk=1 HTTP/1.1\r\nHost: x\r\n\r\n",
             "GET / HTTP/1.1\nHost: x\nX: a\r\n b\r\n\r\n"):
    seed("framing", head.encode())
# The first byte: which file, and of labels how many (fuzz_config.c).
model = ROOT / "tests/golden/fixtures/tiny_timm"
seed("config", b"\x00" + (model / "config.json").read_bytes())
seed("config", b"\x00" + json.dumps({"architecture": "seresnet50", "pretrained_cfg": {
    "input_size": [3, 288, 224], "crop_pct": 1, "crop_mode": "squash", "interpolation": "lanczos",
    "mean": [0, 0, 0], "std": [1, 1, 1], "num_classes": 1000}}).encode())
labels = (model / "labels.txt").read_bytes()
seed("config", bytes([4 * (len(labels.splitlines()) - 1) + 1]) + labels)
seed("config", b"\x05n01440764\ttench\r\nn01443537\tgold\xc3\xa9\r\n")
seed("config", b"\x02" + json.dumps({"weights": "weights/demo", "max-body": "8m", "workers": 2, "listen": ":0",
                                    "server-timing": False, "log-format": "json", "labels": None}).encode())
seed("config", b"\x02" + json.dumps({"max-boddy": 1, "queue-bytes": "1g", "formats": "jpeg,png"}).encode())
weights = (model / "model.safetensors").read_bytes()
shapes = {name: entry.get("shape") for name, entry in
          json.loads(weights[8:8 + struct.unpack("<Q", weights[:8])[0]]).items()}
classes = shapes["fc.bias"][0]
entries, size = {}, 0
for name, dtype, shape in [("class_images", "F32", [classes])] + [
        (name.replace("se.fc2.bias", kind), dtype, rows + shape) for name, shape in shapes.items()
        if name.endswith("se.fc2.bias")
        for kind, dtype, rows in (("mean", "F32", []), ("std", "F32", []), ("quantiles", "F16", [5]),
                                  ("class_mean", "F16", [classes]), ("class_std", "F16", [classes]))]:
    end = size + int(dtype[1:]) // 8 * math.prod(shape)
    entries[name], size = {"dtype": dtype, "shape": shape, "data_offsets": [size, end]}, end
entries["__metadata__"] = {"format": "senetd excitation reference 1", "images": "7", "source": "photos",
                           "weights_sha256": hashlib.sha256(weights).hexdigest(), "class_by": "folder"}
seed("config", b"\x03" + tensors(entries, bytes(size)))
print(f"{count} seeds in {OUT}")
