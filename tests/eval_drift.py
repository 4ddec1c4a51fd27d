#!/usr/bin/env python3
"""Drift as /metrics tells it, after a stream of validation photos, of the same in gray, of noise.

    make eval-drift PHOTOS=DIR        # with CARD=1 the table goes into the model card

Each stream goes through a daemon of its own, classes mixed. Exit status 1 where photos do not stay
near the reference, or gray and noise not far from it. Needs numpy and Pillow, for the alterations.
"""
import argparse
import math
import random
import re
import sys
from pathlib import Path

import eval_demo

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"\| stream \|.*?\n\n", re.DOTALL)
LOW = 0.25  # standard deviations; what photos may drift, as root mean square over the blocks
GRAY, NOISE = 2, 5  # times what photos drift that these have to


def measure(photos, senetd, weights):
    """{block: drift} after this stream."""
    daemon = eval_demo.Daemon(senetd, weights)
    try:
        eval_demo.ask_all(daemon.url, photos, 4)
        drift = eval_demo.read_drift(daemon.url)
        daemon.stop()
    finally:
        daemon.process.kill()
    if not drift:
        sys.exit(f"{weights} has no reference: senetd profile makes it")
    return drift


def total(drift):
    return math.sqrt(sum(value * value for value in drift.values()) / len(drift))


def table(found, count):
    blocks = list(found["photos"])
    shown = [block for i, block in enumerate(blocks)
             if i + 1 == len(blocks) or blocks[i + 1].split(".")[0] != block.split(".")[0]]
    rows = [["stream", *shown, "all blocks"], ["---"] * (len(shown) + 2)]
    for look, drift in found.items():
        rows.append([f"{count} {look}" if look == "photos" else look,
                     *(f"{drift[block]:.2f}" for block in shown), f"{total(drift):.2f}"])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).replace(" --- ", "---")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="directory or tar of photos")
    parser.add_argument("--senetd", type=Path, default=ROOT / "build/senetd")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights/demo")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th photo only")
    parser.add_argument("--card", type=Path, help="put the table into this file")
    args = parser.parse_args()
    photos = eval_demo.read_photos(args.data, "val", args.every)
    if not photos:
        sys.exit(f"{args.data}: no photos under val/CLASS/")
    random.Random(1).shuffle(photos)
    found = {"photos": measure(photos, args.senetd, args.weights)}
    for look in ("gray", "noise"):
        found[look] = measure(eval_demo.altered(photos, look), args.senetd, args.weights)
    text = table(found, len(photos))
    print(text)
    if args.card:
        args.card.write_text(TABLE.sub(lambda _: text + "\n", args.card.read_text(), count=1))
    photo, gray, noise = (total(drift) for drift in found.values())
    if not (photo < LOW and gray > GRAY * photo and noise > NOISE * photo):
        sys.exit(f"expected photos under {LOW}, gray over {GRAY} and noise over {NOISE} times that")


if __name__ == "__main__":
    main()
