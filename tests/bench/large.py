#!/usr/bin/env python3
"""What a photo of 12 megapixels takes beyond its inference, on one core.

    python3 tests/bench/large.py --senetd build/senetd [PHOTO]        # needs Pillow

The photo is enlarged to 4000 x 3000 pixels, given more or less of a camera's noise, and saved as a
JPEG of quality 90: what decoding takes goes with the bytes of the file, as each coefficient of it has to
be read, however much smaller the picture is made. The daemon runs on one core; the client, which sends
one request at a time, on another.
"""
import argparse
import http.client
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from load import Service, Upload, free_port
from PIL import Image

SIZE = (4000, 3000)
NOISE = 60  # deviation
SHARES = 0.0, 0.04, 0.06, 0.08, 0.12  # of it, blended in


def make_photo(path, share):
    photo = Image.open(path).convert("RGB").resize(SIZE, Image.LANCZOS)
    noise = Image.effect_noise(SIZE, NOISE).convert("RGB")
    file = io.BytesIO()
    Image.blend(photo, noise, share).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(connection, body, requests):
    """Milliseconds of each request: whole, decode, preprocess, inference, whole less inference."""
    rows = []
    for number in range(requests + 5):
        begin = time.monotonic()
        connection.request("POST", "/classify", body, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse().read()
        spent = 1e3 * (time.monotonic() - begin)
        timing = json.loads(answer)["timing_ms"]
        if number >= 5:  # warm
            rows.append((spent, timing["decode"], timing["preprocess"], timing["inference"],
                         spent - timing["inference"]))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--weights", default="weights/demo")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("photo", nargs="?", type=Path, default="tests/data/cat.jpg")
    args = parser.parse_args()
    port, cpus = free_port(), sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        upload = Upload(folder, "photo", args.photo.read_bytes(), "image/jpeg")
        service = Service("senetd", [
            "taskset", "-c", str(cpus[0]), args.senetd, "--weights", args.weights, "--listen",
            f"127.0.0.1:{port}", "--admin-listen", "off", "--log-level", "warn"], port, "/classify",
            upload)
    os.sched_setaffinity(0, {cpus[-1]})
    connection = http.client.HTTPConnection("127.0.0.1", port)
    print(f"{SIZE[0]} x {SIZE[1]} JPEG, one core, medians of {args.requests} (ms)\n\n"
          "| MB | whole | decode | preprocess | inference | whole less inference |\n"
          "|---|---|---|---|---|---|")
    for share in SHARES:
        body = make_photo(args.photo, share)
        rows = measure(connection, body, args.requests)
        print(f"| {len(body) / 1e6:.1f} | " +
              " | ".join(f"{statistics.median(column):.1f}" for column in zip(*rows)) + " |", flush=True)
    service.stop()


if __name__ == "__main__":
    main()
