#!/usr/bin/env python3
"""senetd's convolutions beside oneDNN's of the same shapes, which are direct: a practical ceiling.

    make bench-onednn                            # installs what it needs and runs this
    python3 tests/bench/onednn.py --precision int8 --weights weights/demo_int8

oneDNN runs nothing but the convolutions with their ReLU, one after another; senetd's are those of
its whole network (`senetd bench --layers on`). They take turns; medians over the rounds are shown,
ms an image.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from peers import cpu_name, load_model

HERE = Path(__file__).resolve().parent


def shapes(model, size, batch):
    """A line for onednn.c of each convolution but those of the excitations."""
    lines = []

    def hook(name):
        def see(module, inputs, _):
            (kernel, _), (stride, _), (pad, _) = module.kernel_size, module.stride, module.padding
            _, _, height, width = inputs[0].shape
            lines.append(f"{name} {batch} {module.in_channels} {module.out_channels} {kernel} {stride} "
                         f"{pad} {module.groups} {height} {width}")
        return see

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d) and ".se." not in name:
            name = "stem" if name == "conv1" else re.sub(r"downsample\.\d+$", "downsample", name)
            module.register_forward_hook(hook(name))
    with torch.no_grad():
        model(torch.zeros(1, *size))
    return "\n".join(lines) + "\n"


def run_onednn(program, args, lines):
    name = {"fp32": "f32"}.get(args.precision, args.precision)
    out = subprocess.run([program, name, str(args.seconds)], input=lines, check=True, text=True,
                         stdout=subprocess.PIPE, env=dict(os.environ, OMP_NUM_THREADS=str(args.threads)))
    return {name: float(ms) / args.batch for name, ms in map(str.split, out.stdout.splitlines())}


def run_senetd(args):
    out = subprocess.run(
        [args.senetd, "bench", "--json", "--layers", "on", "--weights", str(args.weights), "--precision",
         args.precision, "--threads", str(args.threads), "--batch", str(args.batch), "--seconds",
         str(args.seconds)], check=True, stdout=subprocess.PIPE, text=True)
    return {each["name"]: each["ms"] for each in json.loads(out.stdout)["operations"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--weights", type=Path, default=Path("weights/demo"))
    parser.add_argument("--precision", choices=["fp32", "bf16", "int8"], default="fp32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    args = parser.parse_args()
    model, config = load_model(args.weights)
    lines = shapes(model, config["input_size"], args.batch)
    times = defaultdict(lambda: ([], []))
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/onednn"
        subprocess.run(["cc", "-O2", "-o", program, HERE / "peers/onednn.c", "-ldnnl"], check=True)
        for _ in range(args.rounds):
            ours, theirs = run_senetd(args), run_onednn(program, args, lines)
            for name, ms in theirs.items():
                times[name][0].append(ours[name])
                times[name][1].append(ms)
    print(f"{cpu_name()}, {args.precision}, {args.threads} threads, batch {args.batch}, ms an image\n\n"
          "| convolution | senetd | oneDNN | times |\n|---|---|---|---|")
    sums = defaultdict(lambda: [0.0, 0.0])
    for name, both in times.items():
        # Alike but for their place: the blocks of a stage behind its first.
        stage, _, rest = name.partition(".")
        block, _, part = rest.rpartition(".")
        kind = f"{stage}.{'0' if block == '0' else 'others'}.{part}" if part else name
        for i in range(2):
            sums[kind][i] += statistics.median(both[i])
            sums["all"][i] += statistics.median(both[i])
    sums["all"] = sums.pop("all")  # last
    for kind, (ours, theirs) in sums.items():
        print(f"| {kind} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} |")


if __name__ == "__main__":
    main()
