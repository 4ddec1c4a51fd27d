#!/usr/bin/env python3
"""Top-1 accuracy of a running senetd on validation photos, asked over HTTP.

    python3 tests/eval_demo.py --data PHOTOS --url http://127.0.0.1:8080
    python3 tests/eval_demo.py --data PHOTOS.tar --senetd build/senetd --weights weights/demo
    ... --torch weights/demo     the same photos by timm on PyTorch too: do the two decide alike?

PHOTOS is a directory or a tar file with val/CLASS/*.jpg; gas_pump is the class labelled "gas
pump". With --senetd the daemon is started on a free port and stopped at the end. --look gray or noise
sends the photos without colour, or noise in their place (Pillow, NumPy), to see what drift that is. Only the
standard library is needed, but for --torch (torch, timm, safetensors, Pillow).
"""
import argparse
import collections
import concurrent.futures
import http.client
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

Photo = collections.namedtuple("Photo", "name label content")


def read_photos(data, split, every):
    """Photos of the split, in the order of their names."""
    if data.is_dir():
        paths = sorted((data / split).glob("*/*"))
        return [Photo(p.name, p.parent.name, p.read_bytes()) for p in paths if p.is_file()][::every]
    found = {}
    with tarfile.open(data) as archive:
        for member in archive:
            parts = [part for part in member.name.split("/") if part != "."]
            if member.isfile() and len(parts) >= 3 and parts[-3] == split:
                content = archive.extractfile(member).read()
                found["/".join(parts)] = Photo(parts[-1], parts[-2], content)
    return [found[name] for name in sorted(found)][::every]


# ---- the daemon -------------------------------------------------------------------------------

local = threading.local()


def request(url, method, path, body=None):
    """One exchange on the thread's kept connection; a dropped one is opened once more."""
    for attempt in (1, 2):
        if getattr(local, "connection", None) is None:
            local.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
        try:
            local.connection.request(method, path, body)
            answer = local.connection.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, OSError):
            local.connection.close()
            local.connection = None
            if attempt == 2:
                raise


def classify(url, photo):
    """(label, index, logit of the best class)"""
    for _ in range(100):
        status, body = request(url, "POST", "/classify?topk=1&excitations=none", photo.content)
        if status != 503:  # overloaded: wait and ask again
            break
        time.sleep(0.2)
    if status != 200:
        raise RuntimeError(f"{photo.name}: status {status}: {body[:300].decode(errors='replace')}")
    result = json.loads(body)["results"][0]
    if "error" in result:
        raise RuntimeError(f"{photo.name}: {result['error']}")
    top = result["top_k"][0]
    return top["label"], top["index"], top["logit"]


class Daemon:
    """Starts senetd on a free port and stops it with SIGTERM. Its log is shown if it fails."""

    def __init__(self, binary, weights, *options):
        self.folder = tempfile.TemporaryDirectory()
        port_file = Path(self.folder.name) / "port"
        command = [binary, "--listen", "127.0.0.1:0", "--port-file", port_file]
        self.log = Path(self.folder.name) / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--weights", weights, *options], stderr=log)
        self.url = None
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            text = port_file.read_text() if port_file.exists() else ""
            if text.endswith("\n") or text.isdigit():
                self.url = urlsplit(f"http://127.0.0.1:{int(text)}")
                if self.ready():
                    return
            time.sleep(0.1)
        self.process.kill()
        raise RuntimeError(f"senetd did not become ready\n{self.log.read_text()[-2000:]}")

    def ready(self):
        try:
            return request(self.url, "GET", "/readyz")[0] == 200
        except OSError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        if status != 0:
            raise RuntimeError(f"senetd ended with status {status}\n{self.log.read_text()[-2000:]}")
        self.folder.cleanup()


def ask_all(url, photos, threads):
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda photo: classify(url, photo), photos))
    seconds = time.monotonic() - begin
    print(f"{len(photos)} photos in {seconds:.1f} s, {len(photos) / seconds:.1f} a second")
    return found


# ---- the judge --------------------------------------------------------------------------------


def torch_decisions(weights, photos, batch=16):
    """(index, logit, lead over the second) by timm in fp32 on photos prepared by Pillow."""
    import timm
    import torch
    from PIL import Image, ImageOps
    from safetensors.torch import load_file
    from timm.data import create_transform

    settings = json.loads((weights / "config.json").read_text())
    served = settings["pretrained_cfg"]
    net = timm.create_model(settings["architecture"], num_classes=settings["num_classes"]).eval()
    tensors = load_file(weights / "model.safetensors")
    lost = net.load_state_dict({name: t.float() for name, t in tensors.items()}, strict=False)
    bad = [n for n in lost.missing_keys if not n.endswith("num_batches_tracked")]
    bad += lost.unexpected_keys
    if bad:
        raise RuntimeError(f"{weights}: tensors do not fit {settings['architecture']}: {bad[:3]}")
    transform = create_transform(
        tuple(served["input_size"]),
        interpolation=served.get("interpolation", "bilinear"),
        crop_pct=served.get("crop_pct", 0.875),
        crop_mode=served.get("crop_mode") or "center",
        mean=served["mean"],
        std=served["std"],
    )

    def prepared(photo):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo.content)))
        return transform(image.convert("RGB"))

    found = []
    with torch.inference_mode():
        for begin in range(0, len(photos), batch):
            part = torch.stack([prepared(photo) for photo in photos[begin : begin + batch]])
            best = net(part).topk(2)
            for values, indices in zip(best.values.tolist(), best.indices.tolist()):
                found.append((indices[0], values[0], values[0] - values[1]))
    return found


# ---- what came of it --------------------------------------------------------------------------


def altered(photos, look):
    """The same number of pictures, gray or noise."""
    import numpy
    from PIL import Image, ImageOps

    generator, out = numpy.random.default_rng(1), []
    for photo in photos:
        if look == "gray":
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo.content))).convert("L")
        else:
            image = Image.fromarray(generator.integers(0, 256, (256, 256, 3), numpy.uint8))
        file = io.BytesIO()
        image.convert("RGB").save(file, "PNG")
        out.append(photo._replace(content=file.getvalue()))
    return out


def read_drift(url):
    """{block: distance from the reference}, empty where the model has none."""
    lines = request(url, "GET", "/metrics")[1].decode().splitlines()
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines
            if line.startswith("senetd_se_drift{")}


def report(photos, found):
    """Prints the tables; returns the accuracy."""
    right, totals, confused = collections.Counter(), collections.Counter(), collections.Counter()
    for photo, (label, _, _) in zip(photos, found):
        totals[photo.label] += 1
        if label.replace(" ", "_") == photo.label:
            right[photo.label] += 1
        else:
            confused[photo.label, label.replace(" ", "_")] += 1
    width = max(len(name) for name in totals)
    for name in sorted(totals):
        share = right[name] / totals[name]
        print(f"  {name:{width}}  {100 * share:6.2f} %  ({right[name]} of {totals[name]})")
    if confused:
        print("most confused:")
        for (truth, guess), count in confused.most_common(8):
            print(f"  {count:4}  {truth} taken for {guess}")
    accuracy = sum(right.values()) / len(photos)
    print(f"top-1 accuracy {100 * accuracy:.2f} % ({sum(right.values())} of {len(photos)})")
    return accuracy


def compare(photos, found, judged):
    """Prints where the daemon and PyTorch differ; returns how often."""
    apart, largest = [], 0.0
    for photo, (label, index, logit), (their_index, their_logit, lead) in zip(
        photos, found, judged
    ):
        if index != their_index:
            apart.append(f"  {photo.label}/{photo.name}: {label}, PyTorch's lead was {lead:.4f}")
        else:
            largest = max(largest, abs(logit - their_logit))
    agreement = 100 * (1 - len(apart) / len(photos))
    print(
        f"same top-1 decision as timm on PyTorch: {agreement:.2f} % ({len(apart)} differ); "
        f"largest difference of the best logit {largest:.4f}"
    )
    for line in apart[:20]:
        print(line)
    return len(apart)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="directory or tar of photos")
    parser.add_argument("--split", default="val")
    parser.add_argument("--url", help="of a running daemon")
    parser.add_argument("--senetd", type=Path, help="start this daemon instead")
    parser.add_argument("--weights", type=Path, default=Path("weights/demo"))
    parser.add_argument("--torch", type=Path, metavar="WEIGHTS", help="compare with PyTorch")
    parser.add_argument("--threads", type=int, default=4, help="connections at a time")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th photo only")
    parser.add_argument("--look", choices=["gray", "noise"], help="alter the photos")
    parser.add_argument("--at-least", type=float, metavar="SHARE", help="else exit with status 1")
    args = parser.parse_args()
    if bool(args.url) == bool(args.senetd):
        parser.error("one of --url and --senetd is needed")
    photos = read_photos(args.data, args.split, args.every)
    if not photos:
        sys.exit(f"{args.data}: no photos under {args.split}/CLASS/")
    random.Random(1).shuffle(photos)  # a stream of all classes, for the drift
    if args.look:
        photos = altered(photos, args.look)
    daemon = None
    try:
        if args.senetd:
            daemon = Daemon(args.senetd, args.weights)
        url = daemon.url if daemon else urlsplit(args.url)
        found = ask_all(url, photos, args.threads)
        drift = read_drift(url)
        if drift:
            print("drift: " + ", ".join(f"{block} {value:.3f}" for block, value in drift.items()))
        if daemon:
            daemon.stop()
            daemon = None
        accuracy = report(photos, found)
        if args.torch:
            compare(photos, found, torch_decisions(args.torch, photos))
    except (RuntimeError, OSError) as fault:
        sys.exit(f"eval_demo.py: {fault}")
    finally:
        if daemon:
            daemon.process.kill()
    if args.at_least is not None and accuracy < args.at_least:
        sys.exit(f"accuracy {accuracy:.4f} is below {args.at_least}")


if __name__ == "__main__":
    main()
