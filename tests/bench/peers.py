#!/usr/bin/env python3
"""Time senetd's engine beside ONNX Runtime, OpenVINO and PyTorch: same network, same weights.

    make bench-peers                          # sets up a venv in build/peers and runs this
    python3 tests/bench/peers.py --senetd build/senetd --weights weights/demo --threads 2

The model is exported to ONNX from timm with the same weights. First all must agree on the logits
of a photo; then they take turns (A B C A B C ...), each pinned to the same CPUs with the same
number of threads, and medians over the rounds are compared. fp32 everywhere.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]


def load_model(weights):
    config = json.loads((weights / "config.json").read_text())
    model = timm.create_model(config["architecture"], num_classes=config["num_classes"])
    tensors = {k: v.float() for k, v in load_file(weights / "model.safetensors").items()}
    model.load_state_dict(tensors, strict=False)
    return model.eval(), config["pretrained_cfg"]


def photo(config, folder):
    """A photo whose resize is the identity, as a PNG for senetd and as a tensor for the rest."""
    height, width = config["input_size"][1:]
    sides = [int(side / config["crop_pct"]) for side in (width, height)]
    image = Image.open(ROOT / "tests/data/cat.jpg").convert("RGB").resize(sides)
    path = Path(folder) / "photo.png"
    image.save(path)
    left, top = round((sides[0] - width) / 2), round((sides[1] - height) / 2)
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
    mean, std = (np.array(config[key], np.float32) for key in ("mean", "std"))
    return path, ((pixels - mean) / std).transpose(2, 0, 1)[None].copy()


class Senetd:
    def __init__(self, args, batch):
        self.args, self.batch = args, batch
        self.name = "senetd"

    def command(self, *words):
        full = [self.args.senetd, *words, "--weights", str(self.args.weights)]
        if self.args.kernels:
            full += ["--kernels", self.args.kernels]
        return json.loads(subprocess.run(full, check=True, capture_output=True).stdout)

    def logits(self, path, _):
        answer = self.command("classify", "--json", "--topk", str(self.args.classes), str(path))
        top = answer["results"][0]["top_k"]
        return np.array([t["logit"] for t in sorted(top, key=lambda t: t["index"])])

    def measure(self, seconds):
        found = self.command("bench", "--json", "--threads", str(self.args.threads), "--batch",
                             str(self.batch), "--seconds", str(max(1, round(seconds))))
        self.name = f"senetd ({found['kernels']})"
        return found["ms_per_image"]["median"]


class Peer:
    """A peer in this process: run(x) gives logits."""

    def __init__(self, name, run, batch, shape):
        self.name, self.run = name, run
        self.input = np.random.default_rng(1).standard_normal((batch, *shape), np.float32)

    def logits(self, _, x):
        return self.run(np.repeat(x, len(self.input), 0))[0]

    def measure(self, seconds):
        times, end = [], time.perf_counter() + seconds
        self.run(self.input)
        while time.perf_counter() < end or len(times) < 3:
            begin = time.perf_counter()
            self.run(self.input)
            times.append(time.perf_counter() - begin)
        return statistics.median(times) * 1e3 / len(self.input)


def onnx_runtime(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return f"ONNX Runtime {onnxruntime.__version__}", lambda x: session.run(None, {name: x})[0]


def openvino(path, threads, hint):
    import openvino as ov

    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    compiled = ov.Core().compile_model(str(path), "CPU", settings)
    version = ov.__version__.split("-")[0]
    return f"OpenVINO {version} ({hint})", lambda x: compiled(x)[compiled.output(0)]


def pytorch(model, threads, channels_last):
    torch.set_num_threads(threads)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(x):
        x = torch.from_numpy(x)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return model(x).numpy()

    return f"PyTorch {torch.__version__.split('+')[0]} (eager)", run


def make_runners(args, model, config, batch, folder):
    shape = tuple(config["input_size"])
    path = Path(folder) / f"batch{batch}.onnx"
    torch.onnx.export(model, torch.zeros(batch, *shape), str(path), input_names=["input"],
                      output_names=["logits"], dynamo=False)
    found = [Senetd(args, batch)]
    for make in (lambda: onnx_runtime(path, args.threads),
                 lambda: openvino(path, args.threads, "LATENCY"),
                 lambda: openvino(path, args.threads, "THROUGHPUT"),
                 lambda: pytorch(model, args.threads, True)):
        try:
            found.append(Peer(*make(), batch, shape))
        except ImportError as missing:
            print(f"left out: {missing}")
    return found


def check_agreement(runners, path, x):
    expected = runners[-1].logits(path, x)
    for runner in runners:
        worst = float(np.abs(runner.logits(path, x) - expected).max())
        if worst > 1e-3 * max(1, float(np.abs(expected).max())):
            raise SystemExit(f"{runner.name} disagrees: a logit is off by {worst:.2g}")


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.split(":")[1].strip()
    return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--weights", type=Path, default=Path("weights/demo"))
    parser.add_argument("--kernels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))[: args.threads]
    os.sched_setaffinity(0, cpus)
    model, config = load_model(args.weights)
    args.classes = model.num_classes
    flags = Path("/proc/cpuinfo").read_text()
    isa = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else platform.machine()
    print(f"{cpu_name()}, {isa}, {args.threads} threads, fp32, {args.rounds} rounds of "
          f"{args.seconds:g} s each in turn\n")
    print("| batch | engine | ms/image (median) | senetd is faster by |\n|---|---|---|---|")
    for batch in map(int, args.batches.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            runners = make_runners(args, model, config, batch, folder)
            check_agreement(runners, *photo(config, folder))
            times = [[] for _ in runners]
            for _ in range(args.rounds):
                for runner, found in zip(runners, times):
                    found.append(runner.measure(args.seconds))
            medians = [statistics.median(found) for found in times]
            for runner, median in zip(runners, medians):
                ratio = "" if runner is runners[0] else f"{median / medians[0]:.2f} ×"
                print(f"| {batch} | {runner.name} | {median:.1f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
