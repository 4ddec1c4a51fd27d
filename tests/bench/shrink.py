#!/usr/bin/env python3
"""What decoding large JPEGs at a fraction of their size (--exact-decode off) changes.

    python3 tests/bench/shrink.py --senetd build/senetd PHOTO...      # needs Pillow

Each photo is enlarged until its shorter side is 2400 pixels, saved as a JPEG of quality 92, and
classified with and without --exact-decode. Prints how many top-1 agree, the largest change of a
probability, and the time of decoding and resizing either way. Where the photos lie in folders
named for the model's classes (PHOTOS/val/*/*.jpg), it prints the accuracy either way too.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

SIDE = 2400


TOGETHER = 20  # files of a run: each loads the model


def enlarge(path, file):
    photo = Image.open(path).convert("RGB")
    factor = SIDE / min(photo.size)
    size = tuple(round(side * factor) for side in photo.size)
    photo.resize(size, Image.LANCZOS).save(file, quality=92)


def classify(senetd, files, exact):
    """Of each file the probabilities by class index; the mean time of decoding and resizing; labels by index."""
    command = [senetd, "classify", "--json", "--exact-decode", exact, "--topk", "11", *files]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    told = [{c["index"]: c["probability"] for c in result["top_k"]} for result in answer["results"]]
    labels = {c["index"]: c["label"].replace(" ", "_") for result in answer["results"] for c in result["top_k"]}
    timing = answer["timing_ms"]
    return told, (timing["decode"] + timing["preprocess"]) / len(files), labels


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("photos", nargs="+", type=Path)
    args = parser.parse_args()
    told, times, labels = {"on": [], "off": []}, {"on": [], "off": []}, {}
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{number}.jpg" for number in range(TOGETHER)]
        for begin in range(0, len(args.photos), TOGETHER):
            part = args.photos[begin:begin + TOGETHER]
            for path, file in zip(part, files):
                enlarge(path, file)
            for exact in ("on", "off"):
                found, ms, more = classify(args.senetd, files[:len(part)], exact)
                told[exact] += found
                times[exact].append(ms)
                labels |= more
    best = {exact: [max(of, key=of.get) for of in each] for exact, each in told.items()}
    same = sum(a == b for a, b in zip(best["on"], best["off"]))
    change = max(abs(on[i] - off[i]) for on, off in zip(told["on"], told["off"]) for i in on.keys() & off.keys())
    ms = {exact: statistics.median(of) for exact, of in times.items()}
    count = len(args.photos)
    print(f"{same} of {count} top-1 agree, a probability changes by {change:.4f} at most; "
          f"decoding and resizing took {ms['on']:.0f} ms exact, {ms['off']:.0f} ms shrunk (median)")
    if {path.parent.name for path in args.photos} <= set(labels.values()):
        right = {exact: sum(labels[i] == path.parent.name for i, path in zip(each, args.photos))
                 for exact, each in best.items()}
        print(f"top-1 accuracy {100 * right['on'] / count:.2f} % exact ({right['on']} of {count}), "
              f"{100 * right['off'] / count:.2f} % shrunk ({right['off']})")


if __name__ == "__main__":
    main()
