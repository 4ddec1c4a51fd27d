#!/usr/bin/env python3
"""What decoding in a process of its own costs a photo.

    python3 tests/bench/decoder.py --senetd build/senetd [--requests 400] [PHOTO]

Two daemons with the tiny model of the tests, one with --decoder sandbox and one with inline, get the
same photo in turns, one request at a time. Compared is what their answers tell of decoding and
preprocessing together: with a process of its own that contains the way there and back.
"""
import argparse
import json
import statistics
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/v2"))
from serving import Daemon  # noqa: E402

WAYS = ("sandbox", "inline")


def spent_ms(daemon, photo):
    url = f"http://{daemon.address}/classify?excitations=none"
    with urllib.request.urlopen(url, data=photo) as answer:
        timing = json.load(answer)["timing_ms"]
    return timing["decode"] + timing["preprocess"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("photo", nargs="?", type=Path, default=ROOT / "tests/data/cat.jpg")
    args = parser.parse_args()
    photo = args.photo.read_bytes()
    options = ["--weights", str(ROOT / "tests/golden/fixtures/tiny_timm")]
    times = {way: [] for way in WAYS}
    with Daemon(args.senetd, *options, "--decoder", "sandbox") as sandbox, \
            Daemon(args.senetd, *options, "--decoder", "inline") as inline:
        for number in range(args.requests + 20):
            for way, daemon in zip(WAYS, (sandbox, inline)):
                ms = spent_ms(daemon, photo)
                if number >= 20:  # warm
                    times[way].append(ms)
    for name, of in (("least", min), ("lower quartile", lambda x: statistics.quantiles(x, n=4)[0]),
                     ("median", statistics.median)):
        values = {way: of(times[way]) for way in WAYS}
        print(f"{name}: sandbox {values['sandbox']:.3f} ms, inline {values['inline']:.3f} ms, "
              f"difference {values['sandbox'] - values['inline']:.3f} ms")


if __name__ == "__main__":
    main()
