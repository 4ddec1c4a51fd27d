#!/usr/bin/env python3
"""What decoding large JPEGs at a fraction of their size (--exact-decode off) changes.

    python3 tests/bench/shrink.py --senetd build/senetd PHOTO...      # needs Pillow

Each photo is enlarged until its shorter side is 2400 pixels, saved as a JPEG of quality 92, and
classified with and without --exact-decode. Prints how many top-1 agree, the largest change of a
probability, and the median time of decoding and resizing either way.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

SIDE = 2400


def classify(senetd, files, exact):
    command = [senetd, "classify", "--json", "--exact-decode", exact, "--topk", "11", *files]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer["results"], answer["timing_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("photos", nargs="+", type=Path)
    args = parser.parse_args()
    same, change, times = 0, 0.0, {"on": [], "off": []}
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(args.photos):
            photo = Image.open(path).convert("RGB")
            factor = SIDE / min(photo.size)
            size = tuple(round(side * factor) for side in photo.size)
            file = f"{folder}/{number}.jpg"
            photo.resize(size, Image.LANCZOS).save(file, quality=92)
            told = {}
            for exact in ("on", "off"):
                results, timing = classify(args.senetd, [file], exact)
                told[exact] = {c["index"]: c["probability"] for c in results[0]["top_k"]}
                times[exact].append(timing["decode"] + timing["preprocess"])
            best = {exact: max(of, key=of.get) for exact, of in told.items()}
            same += best["on"] == best["off"]
            change = max(change, *(abs(told["on"][i] - told["off"][i]) for i in told["on"]))
    ms = {exact: statistics.median(of) for exact, of in times.items()}
    print(f"{same} of {len(args.photos)} top-1 agree, a probability changes by {change:.4f} at most; "
          f"decoding and resizing took {ms['on']:.0f} ms exact, {ms['off']:.0f} ms shrunk (median)")


if __name__ == "__main__":
    main()
