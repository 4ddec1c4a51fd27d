#!/usr/bin/env python3
"""Train the demo model: a full SE-ResNet-50 (timm `seresnet50`), from scratch, on CPU cores.

    pip install torch==2.13.0 torchvision timm
    nice python3 weights/train_demo.py --data PHOTOS --work build/train --minutes 120
    python3 weights/train_demo.py --data PHOTOS --work build/train --export weights/demo

PHOTOS holds train/CLASS/*.jpg and val/CLASS/*.jpg. Every schedule (image size, learning
rate) is a function of the share of the --minutes spent so far, so that a run always ends
on time, however busy the machine is. A checkpoint is written every two minutes; the same
command resumes from it. --init MODEL starts a new, shorter schedule from an exported model instead of
from scratch. OMP_WAIT_POLICY=active keeps a busy machine from stalling the two threads.
--export writes model.safetensors (convolutions and fc in fp16, BatchNorm in fp32), config.json
and labels.txt.

Two traps of the photo set are met by augmentation: most classes were squashed to squares
while others kept their aspect, and the sources differ in JPEG quality. Aspect, scale and
JPEG quality are therefore randomised, so that none of them tells a class.
"""
import argparse
import io
import json
import math
import os
import random
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# (share of the time at which the stage ends, image size, batch, crop area of the photo, frozen,
# share of the batches that CutMix mixes).
# The last stages bring objects to about the size in pixels that they have under the served
# protocol (shorter side 256, crop 224). A frozen stage leaves the stem and layer1 as they are:
# they settle first, and cost the most time per photo.
FROM_SCRATCH = [
    (0.35, 64, 64, (0.25, 1.0), False, 0),
    (0.65, 96, 64, (0.35, 1.0), False, 0),
    (0.90, 128, 64, (0.25, 0.9), False, 0),
    (1.01, 192, 32, (0.35, 1.0), False, 0),
]
CONTINUED = [  # with --init
    (0.25, 96, 64, (0.35, 1.0), False, 0.5),
    (0.60, 128, 64, (0.30, 1.0), True, 0.5),
    (0.84, 128, 64, (0.30, 1.0), True, 0),
    (1.01, 192, 32, (0.25, 1.0), True, 0),
]
PEAK_LR, CONTINUED_PEAK_LR = 3e-3, 1.5e-3
WEIGHT_DECAY, WARMUP, SMOOTHING = 0.03, 0.04, 0.1


def classes_of(data):
    return sorted(p.name for p in (data / "train").iterdir() if p.is_dir())


class Photos(torch.utils.data.Dataset):
    """All photos decoded once into memory; crop, flip and recompress on access."""

    def __init__(self, data, split):
        self.items, self.size, self.area = [], 64, (0.25, 1.0)
        for label, name in enumerate(classes_of(data)):
            for path in sorted((data / split / name).iterdir()):
                self.items.append((np.asarray(Image.open(path).convert("RGB")), label))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        pixels, label = self.items[index]
        image = Image.fromarray(pixels)
        box = random_box(*image.size, self.area)
        size = self.size
        if random.random() < 0.3:  # JPEG quality must not tell a class
            between = round(size * random.uniform(1.0, 1.6))
            image = image.resize((between, between), Image.BILINEAR, box=box)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=random.randint(30, 95))
            image, box = Image.open(buffer), None
        how = Image.BICUBIC if random.random() < 0.5 else Image.BILINEAR
        image = image.resize((size, size), how, box=box)
        if random.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), label


def random_box(width, height, area):
    for _ in range(10):
        share = random.uniform(*area) * width * height
        aspect = math.exp(random.uniform(math.log(0.65), math.log(1 / 0.65)))
        w, h = math.sqrt(share * aspect), math.sqrt(share / aspect)
        if w <= width and h <= height:
            x, y = random.uniform(0, width - w), random.uniform(0, height - h)
            return x, y, x + w, y + h
    side = min(width, height)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, x + side, y + side


def to_input(batch):
    """uint8 NCHW -> normalised float, with random brightness, contrast and saturation."""
    x = batch.float() / 255
    n = len(x)
    jitter = lambda span: 1 + span * (2 * torch.rand(n, 1, 1, 1) - 1)
    x = x * jitter(0.2)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = (x - middle) * jitter(0.2) + middle
    gray = x.mean(1, keepdim=True)
    x = ((x - gray) * jitter(0.3) + gray).clamp(0, 1)
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def cutmix(x, labels):
    """CutMix (Yun et al., 2019): a box of each image comes from another one of the batch.

    Returns the other labels and the share of the image that is left."""
    size = x.shape[-1]
    side = round(size * math.sqrt(random.random()))
    top, left = random.randint(0, size - side), random.randint(0, size - side)
    order = torch.randperm(len(x))
    box = (..., slice(top, top + side), slice(left, left + side))
    x[box] = x[order][box]
    return labels[order], 1 - (side / size) ** 2


def load_exported(model, directory):
    tensors = load_file(directory / "model.safetensors")
    model.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=False)


def new_model(classes):
    return timm.create_model("seresnet50", num_classes=classes).to(
        memory_format=torch.channels_last
    )


def served_transform():
    return create_transform(
        (3, 224, 224), interpolation="bicubic", crop_pct=0.875, mean=MEAN, std=STD
    )


@torch.inference_mode()
def evaluate(model, data, every=1, autocast=True):
    """Top-1 of the validation photos under the served protocol; `every` n-th photo only."""
    transform, right, total = served_transform(), 0, 0
    per_class = {}
    model.eval()
    for label, name in enumerate(classes_of(data)):
        paths = sorted((data / "val" / name).iterdir())[::every]
        x = torch.stack([transform(Image.open(p).convert("RGB")) for p in paths])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            found = torch.cat([model(part).argmax(1) for part in x.split(32)])
        per_class[name] = (found == label).float().mean().item()
        right += (found == label).sum().item()
        total += len(paths)
    return right / total, per_class


def learning_rate(share, peak):
    if share < WARMUP:
        return peak * (0.02 + 0.98 * share / WARMUP)
    return peak * 0.5 * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP)))


def set_mode(model, frozen):
    """Training mode; with `frozen`, the stem and layer1 keep their weights and statistics."""
    model.train()
    for part in (model.conv1, model.bn1, model.layer1):
        part.requires_grad_(not frozen)
        part.train(not frozen)


def train(args):
    torch.set_num_threads(args.threads)
    photos = Photos(args.data, "train")
    classes = classes_of(args.data)
    model = new_model(len(classes))
    stages, peak = FROM_SCRATCH, PEAK_LR
    if args.init:
        load_exported(model, args.init)
        stages, peak = CONTINUED, CONTINUED_PEAK_LR
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.99), eps=1e-6, fused=True)
    state = {"spent": 0.0, "step": 0, "seen": 0, "frozen": False}
    checkpoint = args.work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state = saved["state"]
        print("resumed", state, flush=True)

    def save():
        partial = checkpoint.with_suffix(".part")
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state},
            partial,
        )
        os.replace(partial, checkpoint)

    budget = args.minutes * 60
    saved_at, looked_at, loss_mean = state["spent"], state["spent"], None
    while state["spent"] < budget:
        end, photos.size, batch, photos.area, frozen, mixed = next(
            s for s in stages if s[0] > state["spent"] / budget
        )
        set_mode(model, frozen)
        state["frozen"] = frozen
        loader = torch.utils.data.DataLoader(
            photos, batch, shuffle=True, drop_last=True, num_workers=1, prefetch_factor=6
        )
        last = time.monotonic()
        for images, labels in loader:
            share = min(state["spent"] / budget, 1)
            if share >= end or share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(share, peak)
            x, others, share_left = to_input(images), labels, 1
            if random.random() < mixed:
                others, share_left = cutmix(x, labels)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
                logits = model(x).float()
            loss = share_left * F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
            if share_left < 1:
                loss += (1 - share_left) * F.cross_entropy(
                    logits, others, label_smoothing=SMOOTHING
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            optimizer.zero_grad()
            loss_mean = 0.98 * loss_mean + 0.02 * loss.item() if loss_mean else loss.item()
            state["step"] += 1
            state["seen"] += len(images)
            now = time.monotonic()
            state["spent"] += now - last
            last = now
            if state["step"] % 50 == 0:
                print(
                    f"{share:.3f} step {state['step']} photos {state['seen']} "
                    f"size {photos.size} loss {loss_mean:.3f}",
                    flush=True,
                )
            if state["spent"] - saved_at > 120:
                save()
                saved_at = state["spent"]
            if state["spent"] - looked_at > budget / 9:
                looked_at = state["spent"]
                accuracy, _ = evaluate(model, args.data, every=5)
                print(f"{share:.3f} validation (every 5th) {accuracy:.4f}", flush=True)
                set_mode(model, frozen)
                last = time.monotonic()
    save()
    accuracy, per_class = evaluate(model, args.data)
    print(f"validation {accuracy:.4f}", per_class, flush=True)


@torch.no_grad()
def recalibrate(model, data, frozen, photos=2048, batch=64):
    """BatchNorm statistics anew, on training photos as they are served rather than cropped; but for
    frozen layers, whose statistics the others were trained with."""
    transform = served_transform()
    paths = sorted((data / "train").glob("*/*"))
    random.Random(1).shuffle(paths)
    set_mode(model, frozen)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.training:
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
    for i in range(0, photos, batch):
        x = torch.stack([transform(Image.open(p).convert("RGB")) for p in paths[i : i + batch]])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(x.contiguous(memory_format=torch.channels_last))
    model.eval()


def export(args):
    classes = classes_of(args.data)
    model = new_model(len(classes))
    saved = torch.load(args.work / "checkpoint.pt", weights_only=True)
    model.load_state_dict(saved["model"])
    recalibrate(model, args.data, saved["state"]["frozen"])
    tensors = {
        name: (t.half() if t.ndim > 1 else t).contiguous()
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    args.export.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.export / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": "seresnet50",
        "num_classes": len(classes),
        "pretrained_cfg": {
            "input_size": [3, 224, 224],
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "mean": MEAN,
            "std": STD,
            "num_classes": len(classes),
        },
    }
    (args.export / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    labels = [name.replace("_", " ") for name in classes]
    (args.export / "labels.txt").write_text("\n".join(labels) + "\n")
    load_exported(model, args.export)
    accuracy, per_class = evaluate(model, args.data, autocast=False)
    print(f"exported; validation {accuracy:.4f} in fp32", per_class)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--export", type=Path, help="write the checkpoint as a model here")
    parser.add_argument("--init", type=Path, help="start from this exported model")
    parser.add_argument("--fp32", dest="bf16", action="store_false", help="no bf16 autocast")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    export(args) if args.export else train(args)


if __name__ == "__main__":
    main()
