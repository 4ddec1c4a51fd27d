#!/usr/bin/env python3
"""Write the golden fixtures: small models and what timm on PyTorch answers with them.

    pip install torch==2.13.0 timm==1.0.31 torchvision safetensors pillow
    nice python3 tests/golden/make_golden.py                       # tests/golden/fixtures
    nice python3 tests/golden/make_golden.py --only tiny_timm
    nice python3 tests/golden/make_golden.py --ablation            # only ablation.safetensors
    nice python3 tests/golden/make_golden.py --demo weights/demo   # tests/golden/fixtures_demo

`make test` only reads the fixtures; nobody needs Python for it. timm is the judge: networks
are built from its classes, run in evaluation mode in fp32, and the gates are caught by hooks on
its own sigmoids. Seeds are fixed, so that a second run changes at most the last bits.

fixtures/NAME/ is a model directory as the daemon loads it (model.safetensors, config.json, here
and there labels.txt) with cases.safetensors beside it. For case N = 0, 1, ...:
    caseN.input        F32 [n, 3, height, width], normalised
    caseN.logits       F32 [n, classes]
    caseN.excitations  F32 [n, sum of channels]: sigmoid outputs, blocks in network order;
                       absent where the model has no squeeze-and-excitation

ablation.safetensors beside some of them holds, for the first image of case 0, the logits with one
block's gates replaced at a time, a row for each block:
    zero, one          F32 [blocks, classes]: all gates 0, all gates 1
    mean               F32 [blocks, classes]: every gate the mean of the block's computed gates
    given              F32 [blocks, classes]: the gates of `gates`
    gates              F32 [sum of channels]

fixtures_demo/cases.safetensors holds for the photos of tests/data and the demo model
    caseN.pixels       U8 [n, height, width, 3]: after Pillow's resize and crop, before
                       x = (pixel / 255 - mean) / std with the mean and std of config.json
    caseN.logits, caseN.excitations as above.
"""
import argparse
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform
from timm.layers import SEModule
from timm.models import create_model, resnet, senet
from torch import nn

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 11

# ---- networks ---------------------------------------------------------------------------------


def timm_net(layers, channels, stem, attention=True, **options):
    """A timm ResNet with bottlenecks; timm fixes the stem's width, so its convolution and the
    first block's inputs are exchanged for narrower ones afterwards."""
    attention = partial(SEModule, rd_ratio=1 / 4, rd_divisor=2) if attention else None
    net = resnet.ResNet(
        resnet.Bottleneck,
        layers=layers,
        channels=channels,
        num_classes=CLASSES,
        block_args={"attn_layer": attention},
        **options,
    )
    if stem != 64:
        first = net.layer1[0]
        net.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        net.bn1 = nn.BatchNorm2d(stem)
        first.conv1 = nn.Conv2d(stem, first.conv1.out_channels, 1, bias=False)
        first.downsample[0] = nn.Conv2d(stem, first.downsample[0].out_channels, 1, bias=False)
    return net


def legacy_net(block, layers, planes, stem, groups, reduction):
    """timm's copy of Cadene's SENet, its four layers rebuilt with small planes."""
    net = senet.SENet(block, layers, groups, reduction, inplanes=stem, num_classes=CLASSES)
    net.inplanes = stem
    for index, (count, width) in enumerate(zip(layers, planes)):
        stride = 1 if index == 0 else 2
        layer = net._make_layer(block, width, count, groups, reduction, stride)
        setattr(net, f"layer{index + 1}", layer)
    net.last_linear = nn.Linear(planes[-1] * block.expansion, CLASSES)
    return net


def randomise(net, seed):
    """Weights that leave no term out: BatchNorm statistics off their ideal, gammas of both
    signs and none zero, every bias in use, gates spread over (0, 1)."""
    torch.manual_seed(seed)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.5)
    for gate_input in (m for name, m in net.named_modules() if name.endswith(".fc2")):
        nn.init.normal_(gate_input.weight, std=1.5 / math.sqrt(gate_input.in_channels))
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.weight.data *= torch.where(torch.rand_like(norm.weight) < 0.15, -1.0, 1.0)
        nn.init.normal_(norm.bias, std=0.3)
    # Statistics from one training pass keep activations near 1; then shake them.
    with torch.no_grad():
        net.train()(torch.randn(16, 3, 64, 64))
    for norm in norms:
        deviation = norm.running_var.sqrt()
        norm.running_mean += 0.2 * deviation * torch.randn_like(deviation)
        norm.running_var *= torch.empty_like(deviation).uniform_(0.6, 1.7)
        norm.num_batches_tracked.fill_(1000)
    return net.eval()


@torch.inference_mode()
def run(net, x):
    """Logits and the gates of all blocks, concatenated in network order; None without gates."""
    gates, hooks = [], []
    for _, module in net.named_modules():
        gate = None
        if isinstance(module, SEModule):
            gate = module.gate
        elif isinstance(module, senet.SEModule):
            gate = module.sigmoid
        if gate is not None:
            hooks.append(gate.register_forward_hook(lambda m, i, out: gates.append(out.clone())))
    logits = net(x)
    for hook in hooks:
        hook.remove()
    return logits, torch.cat(gates, 1).flatten(1) if gates else None


# ---- fixtures of tiny models ------------------------------------------------------------------

SQUARE, TALL, ODD, SMALL, WIDE = (64, 64), (96, 64), (65, 47), (32, 32), (37, 50)
FULL_SET = [(1, SQUARE), (3, ODD), (8, SMALL), (1, TALL)]
SHORT_SET = [(1, ODD), (3, WIDE)]


def round_all(tensor, dtype):
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


FIXTURES = {
    # name: (network, architecture, cases, dtype of a tensor in the file, keeps the counters)
    "tiny_timm": (
        lambda: timm_net((2, 1, 2, 1), (8, 12, 20, 28), 64),
        "seresnet_tiny",
        FULL_SET,
        lambda t: t,
        True,
    ),
    "tiny_legacy": (
        lambda: legacy_net(senet.SEResNetBottleneck, (1, 2, 1, 2), (6, 10, 16, 20), 24, 1, 4),
        "legacy_seresnet_tiny",
        FULL_SET,
        lambda t: t,
        True,
    ),
    "tiny_legacy_seresnext": (
        # planes / 16 channels in each of the 4 groups: 1, 1, 2, 2
        lambda: legacy_net(senet.SEResNeXtBottleneck, (1, 2, 1, 1), (16, 20, 32, 32), 16, 4, 8),
        "legacy_seresnext_tiny",
        SHORT_SET,
        lambda t: t,
        False,
    ),
    "tiny_seresnext": (
        lambda: timm_net((1, 1, 2, 1), (8, 12, 16, 24), 16, cardinality=4, base_width=16),
        "seresnext_tiny",
        SHORT_SET,
        lambda t: t,
        False,
    ),
    "tiny_resnet": (
        lambda: timm_net((1, 2, 1, 1), (6, 10, 14, 18), 16, attention=False),
        "resnet_tiny",
        SHORT_SET,
        lambda t: t,
        True,
    ),
    # As the demo model is stored: matrices in half precision, vectors in single.
    "tiny_f16": (
        lambda: timm_net((1, 1, 1, 1), (6, 8, 10, 14), 16),
        "seresnet_tiny",
        SHORT_SET,
        lambda t: t.half() if t.ndim > 1 else t,
        False,
    ),
    "tiny_bf16": (
        lambda: timm_net((1, 1, 1, 1), (6, 8, 10, 14), 16),
        "seresnet_tiny",
        SHORT_SET,
        lambda t: round_all(t, torch.bfloat16),
        False,
    ),
}


ABLATED = ["tiny_timm", "tiny_legacy", "tiny_seresnext"]


def config(architecture, net, interpolation="bicubic", crop_pct=0.95):
    legacy = isinstance(net, senet.SENet)
    return {
        "architecture": architecture,
        "num_classes": CLASSES,
        "num_features": net.num_features,
        "pretrained_cfg": {
            "tag": "golden",
            "custom_load": False,
            "input_size": [3, 64, 64],
            "fixed_input_size": False,
            "interpolation": interpolation,
            "crop_pct": crop_pct,
            "crop_mode": "center",
            "mean": MEAN,
            "std": STD,
            "num_classes": CLASSES,
            "pool_size": [2, 2],
            "first_conv": "layer0.conv1" if legacy else "conv1",
            "classifier": "last_linear" if legacy else "fc",
        },
    }


def write_fixture(name, out):
    build, architecture, shapes, store, counters = FIXTURES[name]
    seed = 1 + list(FIXTURES).index(name)
    net = randomise(build(), seed)
    tensors = {
        key: store(t).contiguous()
        for key, t in net.state_dict().items()
        if counters or not key.endswith("num_batches_tracked")
    }
    rounded = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
    missing, surplus = net.load_state_dict(rounded, strict=False)
    assert not surplus and all(k.endswith("num_batches_tracked") for k in missing)

    cases = {}
    torch.manual_seed(100 + seed)
    for index, (count, (height, width)) in enumerate(shapes):
        # Smooth colour under noise, of a different strength in each image of the batch.
        coarse = torch.randn(count, 3, 4, 4)
        x = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        x = x + torch.randn(count, 3, height, width) * torch.rand(count, 1, 1, 1)
        logits, gates = run(net, x)
        cases[f"case{index}.input"] = x
        cases[f"case{index}.logits"] = logits
        if gates is not None:
            cases[f"case{index}.excitations"] = gates

    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({k: t.contiguous() for k, t in cases.items()}, folder / "cases.safetensors")
    text = json.dumps(config(architecture, net), indent=2) + "\n"
    (folder / "config.json").write_text(text)
    if name == "tiny_timm":
        fruits = "apple banana cherry date elder fig grape hazel iris jasmine kiwi".split()
        (folder / "labels.txt").write_text("\n".join(fruits) + "\n")
    spread = torch.cat([t.flatten() for k, t in cases.items() if "exc" in k] or [torch.zeros(1)])
    logits = torch.cat([t.flatten() for k, t in cases.items() if "logits" in k])
    print(
        f"{name}: {sum(t.numel() for t in tensors.values())} values, logits {logits.min():.2f}.."
        f"{logits.max():.2f}, gates {spread.min():.3f}..{spread.max():.3f} mean {spread.mean():.3f}"
    )


# ---- ablation -----------------------------------------------------------------------------------


@torch.inference_mode()
def run_replaced(net, x, block, replace):
    """Logits with the sigmoid outputs of one block exchanged for replace(outputs)."""
    gates = [m.gate if isinstance(m, SEModule) else m.sigmoid for m in net.modules()
             if isinstance(m, (SEModule, senet.SEModule))]
    hook = gates[block].register_forward_hook(lambda m, i, out: replace(out))
    logits = net(x)
    hook.remove()
    return logits[0]


def write_ablation(name, out):
    net = FIXTURES[name][0]()
    tensors = load_file(HERE / "fixtures" / name / "model.safetensors")
    net.load_state_dict({k: t.float() for k, t in tensors.items()}, strict=False)
    net.eval()
    x = load_file(HERE / "fixtures" / name / "cases.safetensors")["case0.input"][:1]
    channels = []
    for module in net.modules():
        if isinstance(module, (SEModule, senet.SEModule)):
            channels.append(module.fc2.out_channels)
    torch.manual_seed(7)
    given = [torch.rand(1, count, 1, 1) for count in channels]
    modes = {
        "zero": lambda block: torch.zeros_like,
        "one": lambda block: torch.ones_like,
        "mean": lambda block: lambda out: out.mean(1, keepdim=True).expand_as(out),
        "given": lambda block: lambda out: given[block],
    }
    rows = {
        mode: torch.stack([run_replaced(net, x, b, make(b)) for b in range(len(channels))])
        for mode, make in modes.items()
    }
    rows["gates"] = torch.cat([g.flatten() for g in given])
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: t.contiguous() for k, t in rows.items()}, folder / "ablation.safetensors")
    base = net(x)[0]
    print(name, {m: float((rows[m] - base).abs().max().detach()) for m in modes})


# ---- fixtures of the demo model ---------------------------------------------------------------


def load_demo(folder):
    settings = json.loads((folder / "config.json").read_text())
    net = create_model(settings["architecture"], num_classes=settings["num_classes"])
    tensors = load_file(folder / "model.safetensors")
    missing, surplus = net.load_state_dict({k: t.float() for k, t in tensors.items()}, False)
    assert not surplus and all(k.endswith("num_batches_tracked") for k in missing), (
        missing,
        surplus,
    )
    return net.eval(), settings["pretrained_cfg"]


def write_demo(folder, out):
    net, served = load_demo(folder)
    mean, std = (torch.tensor(served[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    cases = {}
    # The served size, the size at which timm tests these networks, and one that is not square.
    for index, size in enumerate([tuple(served["input_size"][1:]), (288, 288), (160, 224)]):
        transform = create_transform(
            (3, *size),
            interpolation=served["interpolation"],
            crop_pct=served["crop_pct"],
            normalize=False,
        )
        names = ("cat", "coffee", "rocket")
        photos = [Image.open(DATA / f"{name}.jpg").convert("RGB") for name in names]
        pixels = torch.stack([transform(photo) for photo in photos])
        assert pixels.dtype == torch.uint8
        logits, gates = run(net, (pixels.float() / 255 - mean) / std)
        cases[f"case{index}.pixels"] = pixels.permute(0, 2, 3, 1).contiguous()
        cases[f"case{index}.logits"] = logits
        cases[f"case{index}.excitations"] = gates.contiguous()
        print(size, "top-1", dict(zip(names, logits.argmax(1).tolist())))
    out.mkdir(parents=True, exist_ok=True)
    save_file(cases, out / "cases.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=FIXTURES, help="one tiny model instead of all")
    parser.add_argument("--ablation", action="store_true", help="only ablation.safetensors")
    parser.add_argument("--demo", type=Path, help="the demo model's directory")
    parser.add_argument("--out", type=Path, help="instead of the folder beside this script")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.demo:
        write_demo(args.demo, args.out or HERE / "fixtures_demo")
        return
    if args.ablation:
        for name in ABLATED:
            write_ablation(name, args.out or HERE / "fixtures")
        return
    for name in [args.only] if args.only else FIXTURES:
        write_fixture(name, args.out or HERE / "fixtures")


if __name__ == "__main__":
    main()
