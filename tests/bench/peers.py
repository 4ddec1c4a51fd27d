#!/usr/bin/env python3
"""Time senetd's engine beside ONNX Runtime, OpenVINO and PyTorch: same network, same weights.

    make bench-peers                          # sets up a venv in build/peers and runs this
    python3 tests/bench/peers.py --weights weights/demo --threads 2

The model is exported to ONNX from timm with the same weights. First all must agree on the logits
of a photo; then they take turns (A B C A B C ...), all in this process (senetd as libsenet, built
beside --senetd), pinned to the same CPUs with the same number of threads. Medians over the rounds
are shown, of the times and of their ratios to senetd's in the same round. On a virtual machine the
CPUs may share a cache at one time and not at another, which changes all figures: how fast they read
memory in each round (slower where they share one) is told below the table.

OpenVINO runs under both of its hints: for latency a request at a time, for throughput as many at once as
it asks for.

--precision bf16 compares with OpenVINO and PyTorch in bf16, and with ONNX Runtime, which has no bf16
on CPUs, in fp32. --precision int8 compares with ONNX Runtime's static quantisation (QDQ, a scale an
output channel), which OpenVINO runs too, and with OpenVINO's own (NNCF, where it is installed); all
are calibrated on the same few pictures, since speed does not depend on them. --se times each engine
on the same network without its squeeze-and-excitation too. --cpu avx2 or avxvnni has all engines see a
CPU without AVX-512 (older_cpu.py).
"""
import argparse
import ctypes
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import older_cpu
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]


def load_model(weights):
    config = json.loads((weights / "config.json").read_text())
    model = timm.create_model(config["architecture"], num_classes=config["num_classes"])
    tensors = {k: v.float() for k, v in load_file(weights / "model.safetensors").items()}
    model.load_state_dict(tensors, strict=False)
    return model.eval(), config["pretrained_cfg"]


class Peer:
    """An engine in this process: run(x) gives logits."""

    def __init__(self, name, run, batch, shape):
        self.name, self.run = name, run
        self.input = np.random.default_rng(1).standard_normal((batch, *shape), np.float32)

    def logits(self, x):
        return self.run(np.repeat(x, len(self.input), 0))[0]

    def measure(self, seconds):
        self.run(self.input)
        if hasattr(self.run, "queue"):
            return self.measure_queue(self.run.queue, seconds)
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            begin = time.perf_counter()
            self.run(self.input)
            times.append(time.perf_counter() - begin)
        return statistics.median(times) * 1e3 / len(self.input)

    def measure_queue(self, queue, seconds):
        """Of an engine that takes several requests at once; as many of them in each of its places."""
        done, begin = 0, time.perf_counter()
        while done % len(queue) or time.perf_counter() < begin + seconds:
            queue.start_async({0: self.input})
            done += 1
        queue.wait_all()
        return (time.perf_counter() - begin) * 1e3 / (done * len(self.input))


class SenetOptions(ctypes.Structure):
    """struct senet_options of senet.h."""
    _fields_ = [("labels_path", ctypes.c_char_p), ("kernels", ctypes.c_char_p),
                ("precision", ctypes.c_int), ("threads", ctypes.c_size_t)]


class SenetInfo(ctypes.Structure):
    """struct senet_info of senet.h, as far as it is read."""
    _fields_ = [("name", ctypes.c_char * 64), ("architecture", ctypes.c_char * 64),
                ("layout", ctypes.c_char * 16), ("sha256", ctypes.c_char * 65),
                ("precision", ctypes.c_char_p), ("kernels", ctypes.c_char_p)]


def libsenet(args):
    return Path(args.senetd).resolve().with_name("libsenet.so.0")


def senetd(args, weights, batch, shape):
    library = ctypes.CDLL(str(older_cpu.held(libsenet(args))))
    options = SenetOptions(None, args.kernels.encode() if args.kernels else None,
                           ["fp32", "bf16", "int8"].index(args.precision), args.threads)
    model, context = ctypes.c_void_p(), ctypes.c_void_p()
    failed = library.senet_open(str(weights).encode(), ctypes.byref(options), ctypes.byref(model), None)
    failed = failed or library.senet_context_new(
        model, ctypes.c_size_t(batch), ctypes.c_size_t(shape[1]), ctypes.c_size_t(shape[2]),
        ctypes.byref(context), None)
    if failed:
        raise SystemExit(f"libsenet: error {failed} with {weights}")
    library.senet_info.restype = ctypes.POINTER(SenetInfo)
    info = library.senet_info(model).contents
    logits = np.empty((batch, args.classes), np.float32)

    def run(x):
        library.senet_run(context, ctypes.c_size_t(batch), x.ctypes.data_as(ctypes.c_void_p),
                          logits.ctypes.data_as(ctypes.c_void_p), None)
        return logits

    def gigabytes_per_s():
        peak_and_memory = (ctypes.c_double * 2)()
        library.senet_measure_roofline(context, peak_and_memory)
        return peak_and_memory[1] / 1e9

    run.gigabytes_per_s = gigabytes_per_s
    return f"senetd {info.precision.decode()} ({info.kernels.decode()})", run


PICTURES = sorted((ROOT / "tests/data").glob("*.jpg"))


def calibration_inputs(config):
    """Crops of the test pictures, as the network reads them."""
    height, width = config["input_size"][1:]
    mean, std = (np.array(config[key], np.float32) for key in ("mean", "std"))
    found = []
    for path in PICTURES:
        image = Image.open(path).convert("RGB")
        for scale in (1.0, 1.5):
            sized = image.resize((round(width * scale), round(height * scale)))
            pixels = np.asarray(sized.crop((0, 0, width, height)), np.float32) / 255
            found.append(((pixels - mean) / std).transpose(2, 0, 1)[None].copy())
    return found


def quantise_onnx(path, config, batch):
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(calibration_inputs(config))

        def get_next(self):
            x = next(self.left, None)
            return None if x is None else {"input": np.repeat(x, batch, 0)}

    quantised = path.with_suffix(".int8.onnx")
    prepared = path.with_suffix(".prepared.onnx")
    quantization.shape_inference.quant_pre_process(str(path), str(prepared))
    quantization.quantize_static(str(prepared), str(quantised), Reader(), per_channel=True,
                                 quant_format=quantization.QuantFormat.QDQ)
    return quantised


def quantise_nncf(path, config, batch):
    """OpenVINO's own quantisation of the fp32 network."""
    import nncf
    import openvino as ov

    nncf.set_log_level("ERROR")
    inputs = [np.repeat(x, batch, 0) for x in calibration_inputs(config)]
    return nncf.quantize(ov.Core().read_model(str(path)), nncf.Dataset(inputs))


def onnx_runtime(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return f"ONNX Runtime {onnxruntime.__version__}", lambda x: session.run(None, {name: x})[0]


def openvino(path, threads, hint, precision):
    """path: of an ONNX file, or a model read before."""
    import openvino as ov

    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads,
                "INFERENCE_PRECISION_HINT": precision}
    if hint == "LATENCY":
        settings["NUM_STREAMS"] = 1
    compiled = ov.Core().compile_model(str(path) if isinstance(path, Path) else path, "CPU", settings)

    def run(x):
        return compiled(x)[compiled.output(0)]

    if hint == "THROUGHPUT":
        run.queue = ov.AsyncInferQueue(compiled)
    version = ov.__version__.split("-")[0]
    return f"OpenVINO {version} ({hint})", run


def pytorch(model, threads, precision):
    torch.set_num_threads(threads)
    model = model.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(x):
        x = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            return model(x).float().numpy()

    version = torch.__version__.split("+")[0]
    return f"PyTorch {version}{' bf16' if precision == 'bf16' else ''} (eager)", run


def renamed(made, old, new):
    return made[0].replace(old, new), made[1]


def peers(args, model, config, batch, path):
    """Functions that each make (name, run)."""
    threads = args.threads

    def openvino_as(mark, source, hint, kind):
        return renamed(openvino(source, threads, hint, kind), "(", mark)

    if args.precision == "int8":
        quantised = quantise_onnx(path, config, batch)
        by_nncf = functools.cache(lambda: quantise_nncf(path, config, batch))
        return [lambda: renamed(onnx_runtime(quantised, threads), "Runtime", "Runtime int8"),
                lambda: openvino_as("int8 by ONNX Runtime (", quantised, "LATENCY", "f32"),
                lambda: openvino_as("int8 by NNCF (", by_nncf(), "LATENCY", "f32"),
                lambda: openvino_as("int8 by NNCF (", by_nncf(), "THROUGHPUT", "f32")]
    kind, mark = ("bf16", "bf16 (") if args.precision == "bf16" else ("f32", "(")
    return [lambda: onnx_runtime(path, threads),
            lambda: openvino_as(mark, path, "LATENCY", kind),
            lambda: openvino_as(mark, path, "THROUGHPUT", kind),
            lambda: pytorch(model, threads, args.precision)]


def make_runners(args, model, config, batch, weights, folder):
    shape = tuple(config["input_size"])
    path = Path(folder) / f"batch{batch}.onnx"
    torch.onnx.export(model, torch.zeros(batch, *shape), str(path), input_names=["input"],
                      output_names=["logits"], dynamo=False)
    found = [Peer(*senetd(args, weights, batch, shape), batch, shape)]
    for make in peers(args, model, config, batch, path):
        try:
            found.append(Peer(*make(), batch, shape))
        except ImportError as missing:
            print(f"left out: {missing}")
    return found


# Of the largest logit: how far an engine may be from PyTorch in fp32. The peers' int8 is calibrated
# on a few pictures only.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.05, "int8": 0.4}


def check_agreement(args, runners, model, x):
    _, run = pytorch(model, args.threads, "fp32")
    expected = run(x)[0]
    for runner in runners:
        worst = float(np.abs(runner.logits(x) - expected).max())
        if worst > TOLERANCE[args.precision] * max(1, float(np.abs(expected).max())):
            raise SystemExit(f"{runner.name} disagrees: a logit is off by {worst:.2g}")


def without_se(args, folder):
    """The weights and the timm model that are left when squeeze-and-excitation is taken out."""
    tensors = load_file(args.weights / "model.safetensors")
    plain = Path(folder) / "plain"
    plain.mkdir()
    kept = {name: t for name, t in tensors.items() if ".se." not in name}
    save_file(kept, plain / "model.safetensors")
    config = json.loads((args.weights / "config.json").read_text())
    config["architecture"] = config["architecture"].replace("seres", "res")
    (plain / "config.json").write_text(json.dumps(config))
    return plain, load_model(plain)[0]


def take_turns(args, runners):
    """For each runner its times, one a round, and the speed of memory before each round."""
    times, memory = [[] for _ in runners], []
    for _ in range(args.rounds):
        memory.append(runners[0].run.gigabytes_per_s())
        for runner, found in zip(runners, times):
            found.append(runner.measure(args.seconds))
    return times, memory


def median_ratio(ones, others):
    return statistics.median(one / other for one, other in zip(ones, others))


def print_se_cost(args, model, config):
    """SE-ResNet and the same ResNet without SE, in one run."""
    print("| engine | with SE, ms | without, ms | SE adds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        plain, plain_model = without_se(args, folder)
        with_se = make_runners(args, model, config, 1, args.weights, folder)
        without = make_runners(args, plain_model, config, 1, plain, other)
        times, _ = take_turns(args, [r for pair in zip(with_se, without) for r in pair])
        for runner, whole, bare in zip(with_se, times[::2], times[1::2]):
            print(f"| {runner.name} | {statistics.median(whole):.2f} | {statistics.median(bare):.2f} | "
                  f"{100 * (median_ratio(whole, bare) - 1):.1f} % |")


def print_table(args, model, config, weights):
    print("| batch | engine | ms/image (median) | senetd is faster by |\n|---|---|---|---|")
    speeds = []
    for batch in map(int, args.batches.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            runners = make_runners(args, model, config, batch, weights, folder)
            check_agreement(args, runners, model, calibration_inputs(config)[0])
            times, memory = take_turns(args, runners)
            speeds += memory
            for runner, found in zip(runners, times):
                ratio = "" if runner is runners[0] else f"{median_ratio(found, times[0]):.2f} ×"
                print(f"| {batch} | {runner.name} | {statistics.median(found):.1f} | {ratio} |", flush=True)
    print("\nmemory, GB/s:", *(f"{speed:.0f}" for speed in speeds))


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
    parser.add_argument("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    parser.add_argument("--se", action="store_true", help="what squeeze-and-excitation costs")
    parser.add_argument("--cpu", choices=["avx2", "avxvnni"], help="run as on a CPU with no more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    args = parser.parse_args()
    if args.cpu and os.environ.get("OLDER_CPU") != args.cpu:
        older_cpu.start(args.cpu, ["onnxruntime", "openvino"], libsenet(args),
                        Path(args.senetd).resolve().with_name("older_cpu"))
    cpus = sorted(os.sched_getaffinity(0))[: args.threads]
    os.sched_setaffinity(0, cpus)
    model, config = load_model(args.weights)
    args.classes = model.num_classes
    held = f" held to {args.cpu}" if args.cpu else ""
    print(f"{cpu_name()}{held}, {args.threads} threads, {args.precision}, {args.rounds} rounds of "
          f"{args.seconds:g} s each in turn\n")
    if args.se:
        print_se_cost(args, model, config)
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = args.weights
        if args.precision == "int8":
            weights = Path(folder) / "int8"
            subprocess.run([args.senetd, "quantize", "--weights", args.weights, "--calibrate",
                            ROOT / "tests/data", "-o", weights], check=True, capture_output=True)
        print_table(args, model, config, weights)


if __name__ == "__main__":
    main()
