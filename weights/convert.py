#!/usr/bin/env python3
"""Turn an old SE-ResNet .pth checkpoint into a model directory that senetd loads.

    pip install torch safetensors
    python3 weights/convert.py se_resnet50-ce0d4300.pth weights/se_resnet50
    senetd --check --weights weights/se_resnet50

Reads SE-ResNet and SE-ResNeXt (and ResNet, ResNeXt) classifiers with bottleneck blocks as saved by
    Cadene      pretrained-models.pytorch, timm's legacy_*: layer0.conv1, se_module, last_linear
    timm        conv1, layer1.0.se.fc1, fc; torchvision's ResNets have the same names
    mmpretrain  and mmclassification: backbone.conv1, se_layer.conv1.conv, head.fc
and writes OUTDIR/model.safetensors, OUTDIR/config.json and, where the checkpoint names its
classes, OUTDIR/labels.txt. Cadene's names are kept, since their arithmetic is another one (the
stride of a stage sits on its first 1x1, the max-pool rounds up) and the daemon tells the two by
the names; mmpretrain's arithmetic is timm's, and so become its names.

A .pth does not say how its photos were prepared. config.json gets what the source evaluates
with; --input-size, --crop-pct, --interpolation, --mean and --std override it.

Only tensors are unpickled: a checkpoint from a stranger cannot run code here.
"""
import argparse
import json
import os
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BATCHNORM = ("weight", "bias", "running_mean", "running_var")

# Evaluation protocols: (side, crop_pct, interpolation). Cadene and mmpretrain's SE-ResNets: 256
# on the shorter side by Pillow's bilinear, then the central 224. timm: by the published names.
PROTOCOLS = {"cadene": (224, 0.875, "bilinear"), "mmpretrain": (224, 0.875, "bilinear")}
TIMM_PROTOCOLS = [
    (r"_a[12]_", (224, 0.95, "bicubic")),
    (r"_a3_", (160, 0.95, "bicubic")),
    (r"", (224, 0.875, "bicubic")),
]

# name in the checkpoint -> name that the daemon reads
BLOCK = r"(layer[1-4]\.\d+)"
NAMES = {
    "cadene": [
        (r"layer0\.(conv1|bn1)\.(\w+)", r"layer0.\1.\2"),
        (BLOCK + r"\.(conv[123]|bn[123])\.(\w+)", r"\1.\2.\3"),
        (BLOCK + r"\.se_module\.fc([12])\.(weight|bias)", r"\1.se_module.fc\2.\3"),
        (BLOCK + r"\.downsample\.([01])\.(\w+)", r"\1.downsample.\2.\3"),
        (r"last_linear\.(weight|bias)", r"last_linear.\1"),
    ],
    "timm": [
        (r"(conv1|bn1)\.(\w+)", r"\1.\2"),
        (BLOCK + r"\.(conv[123]|bn[123])\.(\w+)", r"\1.\2.\3"),
        (BLOCK + r"\.se\.fc([12])\.(weight|bias)", r"\1.se.fc\2.\3"),
        (BLOCK + r"\.downsample\.([01])\.(\w+)", r"\1.downsample.\2.\3"),
        (r"fc\.(weight|bias)", r"fc.\1"),
    ],
    "mmpretrain": [
        (r"backbone\.(conv1|bn1)\.(\w+)", r"\1.\2"),
        (r"backbone\." + BLOCK + r"\.(conv[123]|bn[123])\.(\w+)", r"\1.\2.\3"),
        (r"backbone\." + BLOCK + r"\.se_layer\.conv([12])\.conv\.(weight|bias)", r"\1.se.fc\2.\3"),
        (r"backbone\." + BLOCK + r"\.downsample\.([01])\.(\w+)", r"\1.downsample.\2.\3"),
        (r"head\.fc\.(weight|bias)", r"fc.\1"),
    ],
}


class Refused(Exception):
    """One line that says what is wrong with the input."""


def load(path):
    """The checkpoint: its tensors by name, and whatever else it carries."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as fault:
        raise Refused(f"{path}: {fault.strerror}") from fault
    except Exception as fault:
        reason = str(fault).split("\n")[0][:160]
        raise Refused(
            f"{path}: not a checkpoint of plain tensors ({reason}); where it holds other objects "
            "and you trust it, load it yourself and save its state_dict() alone"
        ) from fault
    if not isinstance(loaded, dict):
        raise Refused(f"{path}: holds a {type(loaded).__name__}, expected a dictionary")
    extra = loaded
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    tensors = {k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        raise Refused(f"{path}: no tensors, neither at the top nor under state_dict or model")
    for prefix in ("module.", "_orig_mod.", "model."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: t for name, t in tensors.items()}
    return tensors, extra


def recognise(tensors):
    if "layer0.conv1.weight" in tensors:
        if "layer0.conv2.weight" in tensors:
            raise Refused("a stem of three convolutions (SENet-154): the daemon has the 7x7 only")
        return "cadene"
    if any(name.startswith("backbone.") for name in tensors):
        if any(name.startswith("backbone.stem.") for name in tensors):
            raise Refused("a deep stem (ResNetV1c, V1d): the daemon has the 7x7 only")
        return "mmpretrain"
    if "conv1.weight" in tensors:
        return "timm"
    if "conv1.0.weight" in tensors:
        raise Refused("a deep stem (timm's t and d variants): the daemon has the 7x7 only")
    some = ", ".join(sorted(tensors)[:3])
    raise Refused(f"not an SE-ResNet of Cadene, timm or mmpretrain: its tensors begin {some}")


def rename(tensors, source):
    found = {}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        for pattern, replacement in NAMES[source]:
            match = re.fullmatch(pattern, name)
            if match:
                found[match.expand(replacement)] = tensor
                break
        else:
            shape = list(tensor.shape)
            raise Refused(f'unexpected tensor "{name}" of shape {shape} in a {source} checkpoint')
    return found


def expected_names(tensors, legacy):
    """Every tensor that the blocks found in the checkpoint have to have."""
    stem, se, head = ("layer0.", "se_module", "last_linear") if legacy else ("", "se", "fc")

    def norm(at):
        return [f"{at}.{part}" for part in BATCHNORM]

    names = [f"{stem}conv1.weight", *norm(f"{stem}bn1"), f"{head}.weight", f"{head}.bias"]
    blocks = {re.match(BLOCK, name).group(1) for name in tensors if re.match(BLOCK, name)}
    squeezes = any(f".{se}.fc1." in name for name in tensors)
    depths = []
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        depths.append(max(1, sum(block.startswith(layer) for block in blocks)))
        for block in (f"{layer}.{index}" for index in range(depths[-1])):
            for n in (1, 2, 3):
                names += [f"{block}.conv{n}.weight", *norm(f"{block}.bn{n}")]
            if squeezes:
                names += [f"{block}.{se}.fc{n}.{part}" for n in (1, 2) for part in BATCHNORM[:2]]
        if layer != "layer1" or any(n.startswith("layer1.0.downsample.") for n in tensors):
            names += [f"{layer}.0.downsample.0.weight", *norm(f"{layer}.0.downsample.1")]
    return names, depths, squeezes


def architecture(tensors, legacy, depths, squeezes):
    """timm's name for it: seresnet50, legacy_seresnext50_32x4d, ..."""
    width, per_group = (tensors[f"layer1.0.conv{n}.weight"].shape[n - 1] for n in (1, 2))
    groups = width // per_group
    name = ("legacy_" if legacy else "") + ("se" if squeezes else "")
    name += "resnext" if groups > 1 else "resnet"
    name += str(3 * sum(depths) + 2)  # layers with weights: 3 a block, the stem, the classifier
    return name + (f"_{groups}x{per_group}d" if groups > 1 else "")


def check(tensors, source):
    """Completeness and plain numbers; returns the architecture. The daemon checks the shapes."""
    legacy = source == "cadene"
    if not any(".conv3." in name for name in tensors):
        raise Refused("basic blocks (as in ResNet-18 and -34): the daemon runs bottlenecks only")
    names, depths, squeezes = expected_names(tensors, legacy)
    missing = [name for name in names if name not in tensors]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Refused(f'missing tensor "{missing[0]}"{more}')
    surplus = sorted(set(tensors) - set(names))
    if surplus:
        raise Refused(f'unexpected tensor "{surplus[0]}"')
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise Refused(f'tensor "{name}" holds {tensor.dtype}, expected floating point')
        if not torch.isfinite(tensor).all():
            raise Refused(f'tensor "{name}" holds values that are NaN or infinite')
    return architecture(tensors, legacy, depths, squeezes)


def check_mm_settings(extra):
    """mmpretrain's Caffe style has timm's names, but the stride on another convolution."""
    settings = extra.get("meta", {}) if isinstance(extra.get("meta"), dict) else {}
    text = str(settings.get("config", "")) + str(settings.get("cfg", ""))
    if re.search(r"style\s*=\s*['\"]caffe['\"]", text):
        raise Refused("trained with style='caffe' (stride on the first 1x1), which is not read")


def class_names(extra):
    meta = extra.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    dataset = meta.get("dataset_meta")
    names = meta.get("CLASSES") or (dataset.get("classes") if isinstance(dataset, dict) else None)
    good = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return [" ".join(name.split()) for name in names] if good else None


def labels_of(args, extra, classes):
    if args.labels:
        try:
            labels = args.labels.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise Refused(f"{args.labels}: {fault}") from fault
        if len(labels) != classes:
            raise Refused(f"{args.labels}: {len(labels)} labels for {classes} classes")
        return labels
    labels = class_names(extra)
    return labels if labels and len(labels) == classes else None


def protocol(args, source):
    if source == "timm":
        found = next(p for pattern, p in TIMM_PROTOCOLS if re.search(pattern, args.input.name))
    else:
        found = PROTOCOLS[source]
    side, crop_pct, interpolation = found
    return {
        "input_size": [3, *(args.input_size or (side, side))],
        "interpolation": args.interpolation or interpolation,
        "crop_pct": args.crop_pct or crop_pct,
        "crop_mode": "center",
        "mean": args.mean or IMAGENET_MEAN,
        "std": args.std or IMAGENET_STD,
    }


def storable(tensor, half):
    if half and tensor.ndim > 1:
        tensor = tensor.half()
    elif tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return tensor.contiguous().clone()


def write(path, content):
    """All of a file or nothing of it."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    os.replace(partial, path)


def convert(args):
    tensors, extra = load(args.input)
    source = recognise(tensors)
    if source == "mmpretrain":
        check_mm_settings(extra)
    tensors = rename(tensors, source)
    name = check(tensors, source)
    stored = {k: storable(t, args.half) for k, t in tensors.items()}
    overflown = [k for k, t in stored.items() if not torch.isfinite(t).all()]
    if overflown:
        raise Refused(f'tensor "{overflown[0]}" does not fit half precision; leave out --half')
    head = "last_linear" if source == "cadene" else "fc"
    classes = tensors[f"{head}.weight"].shape[0]
    labels = labels_of(args, extra, classes)
    settings = {
        "architecture": name,
        "num_classes": classes,
        "pretrained_cfg": {**protocol(args, source), "num_classes": classes},
    }
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        if labels:
            write(args.output / "labels.txt", ("\n".join(labels) + "\n").encode())
        write(args.output / "config.json", (json.dumps(settings, indent=2) + "\n").encode())
        write(args.output / "model.safetensors", save(stored, metadata={"format": "pt"}))
    except OSError as fault:
        raise Refused(f"{fault.filename or args.output}: {fault.strerror}") from fault
    served = settings["pretrained_cfg"]
    print(
        f"{args.output}: {name} from {source}, {classes} classes"
        f"{', with labels' if labels else ''}; photos {served['input_size'][2]}x"
        f"{served['input_size'][1]}, crop_pct {served['crop_pct']}, {served['interpolation']}"
    )


def three(text):
    values = [float(part) for part in text.split(",")]
    if len(values) != 3:
        raise ValueError
    # Some configurations state them on 0..255.
    return [value / 255 for value in values] if max(values) > 1 else values


def size(text):
    height, _, width = text.partition("x")
    return [int(height), int(width or height)]


def share(text):
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog="See the top of this file for more."
    )
    parser.add_argument("input", type=Path, metavar="INPUT.pth")
    parser.add_argument("output", type=Path, metavar="OUTDIR")
    parser.add_argument("--mean", type=three, metavar="R,G,B", help="on 0..1 or 0..255")
    parser.add_argument("--std", type=three, metavar="R,G,B", help="on 0..1 or 0..255")
    parser.add_argument("--input-size", type=size, metavar="HEIGHTxWIDTH", help="or one number")
    parser.add_argument("--crop-pct", type=share, metavar="SHARE", help="crop / resized side")
    parser.add_argument("--interpolation", choices=["bilinear", "bicubic", "lanczos"])
    parser.add_argument("--labels", type=Path, metavar="FILE", help="one class a line")
    parser.add_argument("--half", action="store_true", help="store matrices in half precision")
    args = parser.parse_args()
    try:
        convert(args)
    except Refused as fault:
        sys.exit(f"convert.py: {fault}")


if __name__ == "__main__":
    main()
