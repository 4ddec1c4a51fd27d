#!/usr/bin/env python3
"""Test weights/convert.py on checkpoints made here. Run by hand: it needs PyTorch and timm.

    nice python3 tests/scripts/test_convert.py

Tiny networks of each kind are saved the way Cadene, timm and mmpretrain save theirs, converted,
and compared tensor by tensor; where build/senetd (or $SENETD) is there, it also classifies a
lossless picture with each, and its logits are held against timm's.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
sys.dont_write_bytecode = True
import make_golden  # noqa: E402

CONVERT = ROOT / "weights" / "convert.py"
PICTURE = ROOT / "tests" / "golden" / "preprocess" / "rings.png"
SENETD = os.environ.get("SENETD", str(ROOT / "build" / "senetd"))


def network(name):
    index = list(make_golden.FIXTURES).index(name)
    return make_golden.randomise(make_golden.FIXTURES[name][0](), 50 + index)


def as_mmpretrain(state):
    """timm's names -> mmpretrain's."""
    found = {}
    for name, tensor in state.items():
        name = name.replace(".se.fc1.", ".se_layer.conv1.conv.")
        name = name.replace(".se.fc2.", ".se_layer.conv2.conv.")
        found[("head." if name.startswith("fc.") else "backbone.") + name] = tensor
    return found


class Convert(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.out = self.folder / "out"

    def run_script(self, content, *options, name="input.pth"):
        if content is not None:
            torch.save(content, self.folder / name)
        command = [sys.executable, CONVERT, self.folder / name, self.out, *options]
        return subprocess.run(command, capture_output=True, text=True)

    def converted(self, content, *options, **kwargs):
        done = self.run_script(content, *options, **kwargs)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        settings = json.loads((self.out / "config.json").read_text())
        return load_file(self.out / "model.safetensors"), settings

    def refused(self, content, *words, options=(), name="input.pth"):
        done = self.run_script(content, *options, name=name)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("convert.py: "), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertFalse((self.out / "model.safetensors").exists())

    def assert_same(self, tensors, net):
        state = {k: t for k, t in net.state_dict().items() if "num_batches" not in k}
        self.assertEqual(set(tensors), set(state))
        for name, tensor in tensors.items():
            self.assertTrue(torch.equal(tensor, state[name]), name)

    def assert_served(self, net, settings):
        """What the daemon answers for a lossless picture is what timm does."""
        if not os.access(SENETD, os.X_OK):
            self.skipTest(f"tensors compared; {SENETD} is not there to run them")
        served = settings["pretrained_cfg"]
        transform = create_transform(
            tuple(served["input_size"]),
            interpolation=served["interpolation"],
            crop_pct=served["crop_pct"],
            mean=served["mean"],
            std=served["std"],
        )
        logits, gates = make_golden.run(net, transform(Image.open(PICTURE).convert("RGB"))[None])
        command = [SENETD, "classify", "--weights", self.out, "--topk", "11", "--json", PICTURE]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)["results"][0]
        for top in result["top_k"]:
            self.assertAlmostEqual(top["logit"], logits[0, top["index"]].item(), delta=2e-3)
        found = [value for block in result["excitations"] for value in block["values"]]
        expected = gates[0].tolist() if gates is not None else []
        self.assertEqual(len(found), len(expected))
        for ours, theirs in zip(found, expected):
            self.assertAlmostEqual(ours, theirs, delta=1e-3)

    # ---- sources ------------------------------------------------------------------------------

    def test_cadene(self):
        net = network("tiny_legacy")
        tensors, settings = self.converted(net.state_dict())
        self.assert_same(tensors, net)
        self.assertEqual(settings["architecture"], "legacy_seresnet20")
        self.assertEqual(settings["num_classes"], 11)
        served = settings["pretrained_cfg"]
        self.assertEqual(served["input_size"], [3, 224, 224])
        self.assertEqual(served["interpolation"], "bilinear")
        self.assertEqual(served["crop_pct"], 0.875)
        self.assertEqual(served["mean"], [0.485, 0.456, 0.406])
        self.assertEqual(served["std"], [0.229, 0.224, 0.225])
        self.assert_served(net, settings)

    def test_cadene_seresnext(self):
        net = network("tiny_legacy_seresnext")
        tensors, settings = self.converted(net.state_dict())
        self.assert_same(tensors, net)
        self.assertEqual(settings["architecture"], "legacy_seresnext17_4x1d")
        self.assert_served(net, settings)

    def test_timm_below_state_dict_of_data_parallel(self):
        net = network("tiny_timm")
        state = {f"module.{name}": t for name, t in net.state_dict().items()}
        content = {"epoch": 3, "arch": "seresnet50", "state_dict": state}
        tensors, settings = self.converted(content)
        self.assert_same(tensors, net)
        self.assertEqual(settings["architecture"], "seresnet20")
        self.assertEqual(settings["pretrained_cfg"]["interpolation"], "bicubic")
        self.assert_served(net, settings)

    def test_timm_protocol_by_published_name(self):
        net = network("tiny_f16")
        _, settings = self.converted(net.state_dict(), name="seresnet50_a1_0-ffa00869.pth")
        self.assertEqual(settings["pretrained_cfg"]["crop_pct"], 0.95)
        self.assertEqual(settings["pretrained_cfg"]["input_size"], [3, 224, 224])
        _, settings = self.converted(net.state_dict(), name="seresnet50_a3_0-317ecd56.pth")
        self.assertEqual(settings["pretrained_cfg"]["input_size"], [3, 160, 160])

    def test_timm_seresnext_below_model(self):
        net = network("tiny_seresnext")
        tensors, settings = self.converted({"model": net.state_dict(), "optimizer": {}})
        self.assert_same(tensors, net)
        self.assertEqual(settings["architecture"], "seresnext17_4x2d")
        self.assert_served(net, settings)

    def test_plain_resnet(self):
        net = network("tiny_resnet")
        tensors, settings = self.converted(net.state_dict())
        self.assert_same(tensors, net)
        self.assertEqual(settings["architecture"], "resnet17")
        self.assert_served(net, settings)

    def test_mmpretrain(self):
        net = network("tiny_timm")
        names = [f"thing {index}" for index in range(11)]
        meta = {"CLASSES": names, "config": "model = dict(backbone=dict(style='pytorch'))"}
        content = {"meta": meta, "state_dict": as_mmpretrain(net.state_dict())}
        tensors, settings = self.converted(content)
        self.assert_same(tensors, net)
        served = settings["pretrained_cfg"]
        self.assertEqual(served["interpolation"], "bilinear")
        self.assertEqual(served["mean"], [0.485, 0.456, 0.406])
        self.assertEqual((self.out / "labels.txt").read_text().splitlines(), names)
        self.assert_served(net, settings)

    def test_mmpretrain_seresnext(self):
        net = network("tiny_seresnext")
        dataset = {"classes": [f"thing\n{index}" for index in range(11)]}
        content = {
            "meta": {"dataset_meta": dataset},
            "state_dict": as_mmpretrain(net.state_dict()),
        }
        tensors, settings = self.converted(content)
        self.assert_same(tensors, net)
        self.assertEqual((self.out / "labels.txt").read_text().splitlines()[3], "thing 3")
        self.assert_served(net, settings)

    # ---- options ------------------------------------------------------------------------------

    def test_options(self):
        labels = self.folder / "labels"
        labels.write_text("\n".join("abcdefghijk") + "\n")
        tensors, settings = self.converted(
            network("tiny_timm").state_dict(),
            *("--mean", "123.675,116.28,103.53", "--std", "0.2,0.3,0.4", "--half"),
            *("--input-size", "96x64", "--crop-pct", "0.9", "--interpolation", "lanczos"),
            *("--labels", labels),
        )
        served = settings["pretrained_cfg"]
        self.assertEqual([round(value, 6) for value in served["mean"]], [0.485, 0.456, 0.406])
        self.assertEqual(served["std"], [0.2, 0.3, 0.4])
        self.assertEqual(served["input_size"], [3, 96, 64])
        self.assertEqual(served["crop_pct"], 0.9)
        self.assertEqual(served["interpolation"], "lanczos")
        self.assertEqual(tensors["conv1.weight"].dtype, torch.float16)
        self.assertEqual(tensors["bn1.weight"].dtype, torch.float32)
        self.assertEqual((self.out / "labels.txt").read_text(), labels.read_text())

    # ---- refusals -----------------------------------------------------------------------------

    def test_refuses_missing_and_surplus(self):
        state = dict(network("tiny_timm").state_dict())
        gone = state.pop("layer2.0.bn2.running_var")
        self.refused(state, 'missing tensor "layer2.0.bn2.running_var"')
        state["layer2.0.bn2.running_var"] = gone
        state["layer2.0.bn2.running_median"] = gone
        self.refused(state, 'unexpected tensor "layer2.0.bn2.running_median"')
        del state["layer2.0.bn2.running_median"]
        state["layer5.0.conv1.weight"] = gone
        self.refused(state, 'unexpected tensor "layer5.0.conv1.weight"', "[12]")
        del state["layer5.0.conv1.weight"]
        state["layer1.900000000.conv1.weight"] = gone
        self.refused(state, 'missing tensor "layer1.2.')

    def test_refuses_values(self):
        state = dict(network("tiny_timm").state_dict())
        state["fc.bias"] = torch.full((11,), float("nan"))
        self.refused(state, 'tensor "fc.bias"', "NaN")
        state["fc.bias"] = torch.zeros(11, dtype=torch.int32)
        self.refused(state, 'tensor "fc.bias"', "int32")
        state["fc.bias"] = torch.zeros(11)
        state["fc.weight"] = torch.full((11, 112), 1e6)
        self.refused(state, 'tensor "fc.weight"', "--half", options=("--half",))

    def test_refuses_other_networks(self):
        weight = torch.zeros(1)
        self.refused({"features.0.weight": weight}, "not an SE-ResNet", "features.0.weight")
        self.refused({"conv1.0.weight": weight}, "deep stem")
        stem = {"layer0.conv1.weight": weight, "layer0.conv2.weight": weight}
        self.refused(stem, "SENet-154")
        self.refused({"conv1.weight": weight, "layer1.0.conv1.weight": weight}, "basic blocks")
        content = {
            "meta": {"config": "backbone=dict(type='SEResNet', style='caffe')"},
            "state_dict": as_mmpretrain(network("tiny_timm").state_dict()),
        }
        self.refused(content, "style='caffe'")

    def test_refuses_other_files(self):
        self.refused(None, "No such file", name="absent.pth")
        (self.folder / "text.pth").write_text("not a checkpoint")
        self.refused(None, "not a checkpoint of plain tensors", name="text.pth")
        self.refused([1, 2], "holds a list")
        self.refused({"epoch": 1}, "no tensors")
        self.refused({"state_dict": {}}, "no tensors")
        # An object that would run code when unpickled is refused, not run.
        self.refused({"state_dict": {"a": torch.zeros(1)}, "hook": Path("x")}, "plain tensors")

    def test_refuses_labels(self):
        labels = self.folder / "labels"
        labels.write_text("one\ntwo\n")
        self.refused(network("tiny_timm").state_dict(), "2 labels for 11 classes",
                     options=("--labels", labels))  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    unittest.main()
