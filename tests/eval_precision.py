#!/usr/bin/env python3
"""What bf16 and int8 change, on validation photos: decisions, logits, excitations.

    senetd quantize --weights weights/demo --calibrate PHOTOS/train --limit 25 -o build/demo_int8
    python3 tests/eval_precision.py --data PHOTOS --senetd build/senetd --weights build/demo_int8

PHOTOS is a directory or a tar file with val/CLASS/*.jpg. The daemon is started in each precision in
turn and asked for all logits and excitations of every photo; fp32, the first, is the measure of the
others. Only the standard library is needed.
"""
import argparse
import array
import concurrent.futures
import json
import sys
from pathlib import Path

from eval_demo import Daemon, read_photos, request


def ask(url, classes, photo):
    path = f"/classify?topk={classes}&excitations=full"
    status, body = request(url, "POST", path, photo.content)
    if status != 200:
        raise RuntimeError(f"{photo.name}: status {status}: {body[:300].decode(errors='replace')}")
    result = json.loads(body)["results"][0]
    top = result["top_k"]
    logits = array.array("f", (t["logit"] for t in sorted(top, key=lambda t: t["index"])))
    gates = array.array("f", (v for block in result["excitations"] for v in block["values"]))
    return top[0]["label"].replace(" ", "_"), logits, gates


def ask_all(args, precision, photos):
    daemon = Daemon(args.senetd, args.weights, "--precision", precision, "--admin-listen", "off")
    try:
        classes = json.loads(request(daemon.url, "GET", "/model")[1])["classes"]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda photo: ask(daemon.url, classes, photo), photos))
        daemon.stop()
        return found
    finally:
        daemon.process.kill()


def report(precision, photos, found, exact):
    right = sum(label == photo.label for photo, (label, _, _) in zip(photos, found))
    same = sum(a[0] == b[0] for a, b in zip(found, exact))
    worst, distance, gates = 0.0, 0.0, 0
    for (_, logits, values), (_, true_logits, true_values) in zip(found, exact):
        largest = max(map(abs, true_logits))
        worst = max(worst, max(abs(a - b) for a, b in zip(logits, true_logits)) / largest)
        distance += sum(abs(a - b) for a, b in zip(values, true_values))
        gates += len(values)
    print(f"| {precision} | {100 * right / len(photos):.2f} % | {100 * same / len(photos):.2f} % | "
          f"{100 * worst:.2f} % | {distance / gates:.6f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="directory or tar of photos")
    parser.add_argument("--senetd", type=Path, default=Path("build/senetd"))
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--precisions", default="bf16,int8", help="to compare with fp32")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th photo only")
    args = parser.parse_args()
    photos = read_photos(args.data, "val", args.every)
    if not photos:
        sys.exit(f"{args.data}: no photos under val/CLASS/")
    try:
        exact = ask_all(args, "fp32", photos)
        print(f"{len(photos)} photos\n\n| precision | top-1 accuracy | same top-1 as fp32 | largest "
              "difference of a logit, of the photo's largest | mean difference of the excitations |\n"
              "|---|---|---|---|---|")
        report("fp32", photos, exact, exact)
        for precision in args.precisions.split(","):
            report(precision, photos, ask_all(args, precision, photos), exact)
    except (RuntimeError, OSError) as fault:
        sys.exit(f"eval_precision.py: {fault}")


if __name__ == "__main__":
    main()
