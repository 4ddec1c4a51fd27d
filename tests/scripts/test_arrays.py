#!/usr/bin/env python3
"""Arrays, figures and example clients, by the programs that people would use on them.

    make check-arrays        # a virtual environment with numpy, safetensors, requests, matplotlib

Starts the daemon, sends photos, and holds what numpy and safetensors read against the JSON answer;
parses the figures of senetd plot; runs the examples and the notebook of deploy/examples.
"""
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import requests
import safetensors.numpy

ROOT = Path(__file__).resolve().parents[2]
SENETD = ROOT / (sys.argv[1] if len(sys.argv) > 1 else "build/senetd")
MODEL = ROOT / "tests/golden/fixtures/tiny_timm"
PHOTOS = [ROOT / "tests/data" / name for name in ("cat.jpg", "coffee.jpg", "rocket.jpg")]
EXAMPLES = ROOT / "deploy/examples"


class Daemon:
    def __init__(self, folder, weights):
        self.port_file = folder / "port"
        self.port_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [SENETD, "--weights", weights, "--listen", "127.0.0.1:0", "--port-file",
             self.port_file], stderr=subprocess.DEVNULL)
        for _ in range(600):
            if self.port_file.exists() and self.port_file.read_text().strip():
                self.url = f"http://127.0.0.1:{self.port_file.read_text().strip()}"
                if requests.get(self.url + "/readyz", timeout=60).status_code == 200:
                    return
            time.sleep(0.1)
        raise SystemExit("the daemon did not come up")

    def post(self, path, photos, status=200, **headers):
        files = [("image", (photo.name, photo.read_bytes())) for photo in photos]
        answer = requests.post(self.url + path, files=files, headers=headers, timeout=60)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:300])
        return answer


def near(found, expected):
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-5)


def check_arrays(daemon):
    told = daemon.post("/classify?topk=11&relative=1", PHOTOS).json()["results"]
    blocks = [block["name"] for block in told[0]["excitations"]]
    values = {name: [result["excitations"][i]["values"] for result in told]
              for i, name in enumerate(blocks)}
    scores = {name: [result["excitations"][i]["z"] for result in told]
              for i, name in enumerate(blocks)}
    logits = [[row["logit"] for row in sorted(result["top_k"], key=lambda row: row["index"])]
              for result in told]

    answer = daemon.post("/classify?format=npz&relative=1", PHOTOS)
    assert answer.headers["Content-Type"] == "application/zip"
    archive = np.load(io.BytesIO(answer.content))
    assert sorted(archive.files) == sorted(["logits", *blocks, *(b + ".z" for b in blocks)])
    near(archive["logits"], logits)
    tensors = safetensors.numpy.load(
        daemon.post("/classify?format=safetensors&relative=1", PHOTOS).content)
    assert sorted(tensors) == sorted(archive.files)
    for name in blocks:
        near(archive[name], values[name])
        np.testing.assert_allclose(archive[name + ".z"], scores[name], rtol=1e-3, atol=1e-3)
        assert (tensors[name] == archive[name]).all()

    joined = np.concatenate([np.array(values[name]) for name in blocks], axis=1)
    answer = daemon.post("/classify?format=npy", PHOTOS)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    near(np.load(io.BytesIO(answer.content)), joined)
    answer = daemon.post("/classify", PHOTOS, Accept="application/octet-stream")
    near(np.load(io.BytesIO(answer.content)), joined)
    answer = daemon.post("/classify?format=npy&layers=layer2.0", PHOTOS)
    near(np.load(io.BytesIO(answer.content)), values["layer2.0"])
    answer = daemon.post("/se-weights?layer=2&format=npy", PHOTOS[:1])
    near(np.load(io.BytesIO(answer.content)), values["layer2.0"][:1])
    kept = requests.get(f"{daemon.url}/se-weights", timeout=60, params={
        "id": answer.headers["X-Request-Id"], "format": "npy", "layer": "layer2.0"})
    near(np.load(io.BytesIO(kept.content)), values["layer2.0"][:1])
    answer = daemon.post("/classify?format=npy&excitations=none", PHOTOS)
    near(np.load(io.BytesIO(answer.content)), logits)


def check_faults(daemon, folder):
    broken = folder / "broken.jpg"
    broken.write_bytes(b"no image")
    cases = [("/classify?format=csv", PHOTOS[:1], 400, "expected json, npy, npz or safetensors"),
             ("/classify?format=npz&excitations=summary", PHOTOS[:1], 400, "format=json only"),
             ("/classify?format=npy&relative=1", PHOTOS[:1], 400, "npy holds one array"),
             ("/classify?format=npy", [PHOTOS[0], broken], 415, "image 1: ")]
    for path, photos, status, detail in cases:
        problem = daemon.post(path, photos, status).json()
        assert detail in problem["detail"], problem
    answer = requests.get(daemon.url + "/se-weights?layer=1&format=npy", timeout=60)
    assert answer.status_code == 400 and "needs id" in answer.json()["detail"]


def check_figures(folder, weights):
    (folder / "photos/cherry").mkdir(parents=True)
    shutil.copy(PHOTOS[0], folder / "photos/cherry")
    photo = os.fsencode(folder) + b"/<&\xff>.jpg"
    shutil.copy(os.fsencode(PHOTOS[0]), photo)
    for arguments in ([photo], ["--classes", folder / "photos"]):
        figure = folder / "figure.svg"
        subprocess.run([SENETD, "plot", "--weights", weights, *arguments, "-o", figure], check=True)
        root = xml.etree.ElementTree.parse(figure).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) >= 5
        subprocess.run(["xmllint", "--noout", figure], check=True)
        picture = folder / "figure.png"
        subprocess.run([SENETD, "plot", "--weights", weights, *arguments, "-o", picture],
                       check=True)
        size = struct.unpack(">II", picture.read_bytes()[16:24])
        assert size == (2 * int(root.get("width")), 2 * int(root.get("height"))), size
    subprocess.run([sys.executable, ROOT / "tests/scripts/roles.py"], check=True)


def check_progress(folder, weights):
    """On a terminal a profile tells how far it is, how fast, and how long it will take."""
    terminal, theirs = os.openpty()
    profile = subprocess.Popen(
        [SENETD, "profile", "--weights", weights, "--images", ROOT / "tests/data",
         "-o", folder / "again.safetensors", "--max-images", "2"], stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # so Linux tells that the other side has closed
        os.close(terminal)
    assert profile.wait(60) == 0, shown
    seen = re.findall(rb"\[(#*) *\] (\d)/4  [\d.]+ images/s  \d+:\d\d left", shown)
    assert [count for _, count in seen] == [b"2", b"4"], shown
    assert len(seen[0][0]) * 2 == len(seen[1][0]) == 30, shown


def check_examples(daemon):
    run = subprocess.run([sys.executable, EXAMPLES / "excitations.py", PHOTOS[0], daemon.url],
                         check=True, capture_output=True, text=True)
    assert re.search(r"layer2\.0 +48 gates, mean 0\.\d+, most open: \d+", run.stdout), run.stdout
    run = subprocess.run(["node", EXAMPLES / "excitations.mjs", PHOTOS[0], daemon.url],
                         check=True, capture_output=True, text=True)
    assert "layer2.0 48" in run.stdout, run.stdout


def check_notebook(daemon):
    """Its cells, one after another, with figures that nobody sees."""
    notebook = json.loads((EXAMPLES / "excitations.ipynb").read_text())
    assert notebook["nbformat"] == 4
    os.environ |= {"MPLBACKEND": "Agg", "SENETD": daemon.url, "PHOTO": str(PHOTOS[0])}
    scope = {"__name__": "notebook"}
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), "the notebook is kept without outputs"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    assert len(scope["plt"].get_fignums()) == 3
    assert len(scope["blocks"]) == len(scope["explained"]["blocks"])


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "model"
        weights.mkdir()
        for file in ("model.safetensors", "config.json", "labels.txt"):
            shutil.copy(MODEL / file, weights)
        subprocess.run([SENETD, "profile", "--weights", weights, "--images", ROOT / "tests/data"],
                       check=True, stderr=subprocess.DEVNULL)
        daemon = Daemon(folder, weights)
        try:
            check_arrays(daemon)
            check_faults(daemon, folder)
            check_figures(folder, weights)
            check_progress(folder, weights)
            check_examples(daemon)
            check_notebook(daemon)
        finally:
            daemon.process.terminate()
        assert daemon.process.wait(60) == 0
    print("arrays, figures and examples: passed")


main()
