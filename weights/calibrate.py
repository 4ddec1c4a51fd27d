#!/usr/bin/env python3
"""Calibrate an SE-ResNet for int8: how large the input of each convolution gets, on real photos.

    pip install torch timm safetensors
    python3 weights/calibrate.py --weights weights/demo --images PHOTOS --output weights/demo_int8

Takes a directory with model.safetensors and config.json (timm's `seresnet50` layout) and writes one
with the same files, where model.safetensors has for every convolution NAME a tensor
NAME.input_scale besides: what one unit of the quantised input stands for. `senetd --precision int8`
reads it; other precisions run from the same file as before. For each input the scale is the one,
of those tried, that loses least: what clipping and rounding take away, as a mean square.
"""
import argparse
import json
import random
import shutil
import sys
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform

BINS = 2048


class Histogram:
    """Of absolute values from 0 to a limit that grows by doubling."""

    def __init__(self):
        self.limit, self.counts = 1e-3, torch.zeros(BINS, dtype=torch.float64)

    def add(self, values):
        values = values.abs().flatten()
        while values.max() > self.limit:
            self.counts = torch.cat([self.counts.view(-1, 2).sum(1), torch.zeros(BINS // 2)])
            self.limit *= 2
        self.counts += torch.histc(values, BINS, 0, self.limit).double()

    def scale(self, levels):
        """Zeros do not count: a ReLU makes many, and every scale holds them exactly."""
        centres = (torch.arange(BINS) + 0.5) * self.limit / BINS
        counts = self.counts.clone()
        counts[0] = 0
        best = None
        for share in range(8, 129):
            top = self.limit * share / 128
            step = top / levels
            clipped = (centres - top).clamp(min=0) ** 2
            rounded = torch.full_like(centres, step**2 / 12)
            loss = (counts * torch.where(centres > top, clipped, rounded)).sum().item()
            if best is None or loss < best[0]:
                best = (loss, step)
        return best[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a folder, searched throughout")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=256, help="photos to look at")
    args = parser.parse_args()

    config = json.loads((args.weights / "config.json").read_text())
    tensors = load_file(args.weights / "model.safetensors")
    model = timm.create_model(config["architecture"], num_classes=config["num_classes"]).eval()
    model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    pretrained = config["pretrained_cfg"]
    transform = create_transform(
        pretrained["input_size"],
        interpolation=pretrained["interpolation"],
        crop_pct=pretrained["crop_pct"],
        mean=pretrained["mean"],
        std=pretrained["std"],
    )
    histograms = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d) and ".se." not in name:
            histogram = histograms[name] = Histogram()
            module.register_forward_pre_hook(lambda _, x, h=histogram: h.add(x[0]))
    paths = [p for p in sorted(args.images.rglob("*")) if p.suffix in (".jpg", ".jpeg", ".png")]
    if not paths:
        parser.error(f"no photos in {args.images}")
    random.Random(1).shuffle(paths)
    with torch.inference_mode():
        for i, path in enumerate(paths[: args.limit]):
            if sys.stdout.isatty():
                print(f"\r{i + 1} of {min(args.limit, len(paths))} photos", end="", flush=True)
            model(transform(Image.open(path).convert("RGB"))[None])
    print()
    for name, histogram in histograms.items():
        if name.endswith("downsample.0"):  # reads what the block's conv1 reads
            continue
        # The stem's photo is signed: 127 levels on each side of zero.
        scale = histogram.scale(127 if name == "conv1" else 255)
        tensors[f"{name}.input_scale"] = torch.tensor([scale], dtype=torch.float32)
    args.output.mkdir(parents=True, exist_ok=True)
    for path in args.weights.iterdir():
        if path.name != "model.safetensors":
            shutil.copy(path, args.output)
    save_file(tensors, args.output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
