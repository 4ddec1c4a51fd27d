#!/usr/bin/env python3
"""The daemon under load, beside what its engine does alone.

    make bench-server                   # all of it, about eight minutes
    make bench-server BENCH="--only reload --reload-seconds 120"
    make bench-server BENCH="--only closed --apart"
    make bench-soak MINUTES=30          # memory and descriptors over time

Closed loop (1 to 64 clients), open loop (0.5 to 3 times the capacity),
a reload every two seconds, and SIGTERM under load. Prints tables in Markdown. The generators share
the machine with the daemon: on few cores they cost it a little; --apart gives the closed loop's
the last CPU, and the others to daemon and engine. Exit status 1 where a request was lost or failed
that should not have.

What the daemon adds to a lone client's request is measured by lone.c: from the request's last byte
sent to the answer's last byte received, less decode, preprocess and inference; beside it the same of
a bare server, which does nothing but to receive, compute and send.
"""
import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from load import HERE, Service, Upload, closed_loop, free_port, open_loop, percentile


def start(args, path="/classify?excitations=none", *options):
    port = free_port()
    return Service("senetd", [
        *args.served_by, args.senetd, "--weights", args.weights, "--listen", f"127.0.0.1:{port}",
        "--admin-listen", "off", "--log-level", "warn", *args.daemon.split(), *options], port, path,
        args.upload)


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.split(":")[1].strip()
    return platform.machine()


def describe(args):
    """Version, kernels and precision of the daemon."""
    service = start(args)
    with urllib.request.urlopen(service.url("/version"), timeout=10) as answer:
        version = json.load(answer)
    service.stop()
    return f"senetd {version['version']} ({version['kernels']}, {service.answer['model']['precision']})"


def engine_alone(args, batch):
    """Images per second of the network."""
    out = subprocess.run(
        [*args.served_by, args.senetd, "bench", "--json", "--weights", args.weights, "--batch",
         str(batch), "--seconds", str(args.seconds)],
        check=True, capture_output=True, text=True).stdout
    return json.loads(out)["images_per_s"]


def median(rows, value):
    return statistics.median(map(value, rows))


def best_batch(args):
    """At which the engine alone is fastest; in turns, as the machine's speed changes."""
    rates = {1: [], 4: [], 8: []}
    for _ in range(args.rounds):
        for batch in rates:
            rates[batch].append(engine_alone(args, batch))
    return max(rates, key=lambda batch: statistics.median(rates[batch]))


def compile_lone(folder):
    program = Path(folder) / "lone"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-pthread", "-o", program, HERE / "lone.c"],
                   check=True)
    return program


def ask_alone(args, service, seconds):
    out = subprocess.run([args.lone, "ask", str(service.port), service.path, service.upload.path,
                          str(seconds)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def answer_size(service):
    upload = urllib.request.Request(service.url(), data=service.upload.body)
    with urllib.request.urlopen(upload, timeout=60) as answer:
        return len(answer.read())


def show_lone_client(args):
    """In turns with a bare server whose answers are as long, and that computes as long."""
    print("\nOne client, beyond decode, preprocess and inference (us)\n\n"
          "| request | daemon p10, p50 | bare server p10, p50 | the daemon adds p10, p50 |\n"
          "|---|---|---|---|")
    for path in ("/classify", "/classify?excitations=none"):
        service, port = start(args, path), free_port()
        busy_ms = ask_alone(args, service, 2)["stages_p50_ms"]
        bare = Service("bare", [args.lone, "serve", str(port), str(answer_size(service)),
                                f"{busy_ms:.1f}"], port, "/", args.upload)
        rows = {service: [], bare: []}
        for _ in range(args.rounds):
            for each in rows:
                rows[each].append(ask_alone(args, each, args.seconds))
        p10, p50 = ([median(each, lambda row: row[f"beyond_{share}_us"]) for each in rows.values()]
                    for share in ("p10", "p50"))
        print(f"| `{path}` | {p10[0]:.0f}, {p50[0]:.0f} | {p10[1]:.0f}, {p50[1]:.0f} | "
              f"{p10[0] - p10[1]:.0f}, {p50[0] - p50[1]:.0f} |", flush=True)
        bare.stop()
        service.stop()
    return 0


def show_closed_loop(args):
    """Each load between two runs of the engine alone, with whose mean it is compared: what else
    runs on the machine strikes both. Returns how many answers failed."""
    counts = (1, 4, 16, 64)
    rows, shares, engine = {n: [] for n in counts}, {n: [] for n in counts}, []
    best = best_batch(args)
    service = start(args, "/classify")
    closed_loop(service, 16, 2, args.asked_by)  # warm
    for _ in range(args.rounds):
        before = engine_alone(args, best)
        for clients in counts:
            row = closed_loop(service, clients, args.seconds, args.asked_by)
            after = engine_alone(args, best)
            rows[clients].append(row)
            shares[clients].append(row["answers"] / row["seconds"] / ((before + after) / 2))
            engine.append(after)
            before = after
    service.stop()
    print(f"\nClosed loop, whole answers, medians of {args.rounds} rounds. Engine alone: "
          f"{statistics.median(engine):.1f} images/s at its best batch, {best} ({min(engine):.1f} to "
          f"{max(engine):.1f})\n\n"
          "| clients | images/s | of the engine's before and after | p50, p99 (ms) | failures |\n"
          "|---|---|---|---|---|")
    for clients in counts:
        rate = median(rows[clients], lambda row: row["answers"] / row["seconds"])
        print(f"| {clients} | {rate:.1f} | {statistics.median(shares[clients]):.1%} | "
              f"{median(rows[clients], lambda row: row['p50_ms']):.1f}, "
              f"{median(rows[clients], lambda row: row['p99_ms']):.1f} | "
              f"{sum(row['failures'] for row in rows[clients])} |", flush=True)
    return sum(row["failures"] for each in rows.values() for row in each)


def capacity_of(service, args):
    row = closed_loop(service, 16, args.seconds)
    return row["answers"] / row["seconds"]


def find_capacity(args):
    service = start(args)
    capacity = [capacity_of(service, args) for _ in range(2)][1]  # the first warms
    service.stop()
    return capacity


def show_open_loop(args):
    """Each load between two measurements of the capacity, as the machine's speed changes."""
    print(f"\nOpen loop, `excitations=none`, --queue {args.queue}\n\n| offered | capacity before, "
          "after (images/s) | sent | 200 | 503 | other | goodput/capacity | p50, p99 of 200 (ms) | the queue takes (ms) | p50, p99 of 503 (ms) | "
          "p99 of sending late (ms) |\n" + "|---" * 11 + "|")
    failed = 0
    for load in (0.5, 0.9, 1.5, 3.0):
        service = start(args, "/classify?excitations=none", "--queue", str(args.queue))
        closed_loop(service, 16, 2)  # warm
        before = capacity_of(service, args)
        results, took, late = open_loop(service, load * before, args.seconds)
        after = capacity_of(service, args)
        service.stop()
        capacity = (before + after) / 2
        good = [1e3 * each for status, each in results if status == 200]
        refused = [1e3 * each for status, each in results if status == 503]
        other = len(results) - len(good) - len(refused)
        failed += other
        times = f"{percentile(refused, .5):.1f}, {percentile(refused, .99):.1f}" if refused else ""
        print(f"| {load} x | {before:.1f}, {after:.1f} | {len(results)} | {len(good)} | {len(refused)} | "
              f"{other} | {len(good) / took / capacity:.2f} | {percentile(good, .5):.0f}, "
              f"{percentile(good, .99):.0f} | {1e3 * args.queue / capacity:.0f} | {times} | "
              f"{1e3 * percentile(late, .99):.1f} |", flush=True)
    return failed


def show_reloads(args, capacity):
    service, reloads = start(args), 0

    def reload_now_and_then(elapsed):
        nonlocal reloads
        if elapsed >= 2 * (reloads + 1):
            service.process.send_signal(signal.SIGHUP)
            reloads += 1
        return False

    results, _, _ = open_loop(service, capacity / 2, args.reload_seconds, reload_now_and_then)
    failed = sum(status != 200 for status, _ in results)
    print(f"\nReload every 2 s for {args.reload_seconds} s at 0.5 x capacity: {reloads} reloads, "
          f"{len(results)} requests, {failed} failed", flush=True)
    return failed + service.stop()


def show_end(args, capacity):
    """SIGTERM: readiness goes off, and for half a second a balancer has not noticed yet."""
    service, asked = start(args, "/classify?excitations=none", "--drain-delay", "1"), False

    def end_in_the_middle(elapsed):
        nonlocal asked
        if elapsed >= 2 and not asked:
            service.process.send_signal(signal.SIGTERM)
            asked = True
        return elapsed >= 2.5

    results, _, _ = open_loop(service, 0.9 * capacity, 10, end_in_the_middle)
    lost, code = sum(status != 200 for status, _ in results), service.process.wait()
    print(f"\nSIGTERM at 0.9 x capacity: {len(results)} requests, {lost} lost, exit status {code}",
          flush=True)
    return lost + code


def slope(points):
    """Least squares, of [(x, y)]."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def soak(args):
    """0.9 x capacity; the first fifth of the time is not counted."""
    service = start(args, "/classify")
    capacity = max(row["answers"] / row["seconds"] for row in
                   (closed_loop(service, 16, args.seconds) for _ in range(2)))
    seconds, samples = 60 * args.soak, []
    time.sleep(1)  # the last connections close
    before = service.descriptors()

    def observe(elapsed):
        if elapsed >= len(samples):
            samples.append((elapsed / 60, service.resident_bytes() / 1024))
        return False

    results, _, late = open_loop(service, 0.9 * capacity, seconds, observe)
    time.sleep(1)  # the last connections close
    after = service.descriptors()
    kept = [sample for sample in samples if sample[0] >= samples[-1][0] / 5]
    failed = sum(status != 200 for status, _ in results)
    good = [1e3 * each for status, each in results if status == 200]
    print(f"\nSoak, {args.soak:g} minutes at 0.9 x {capacity:.1f} images/s, whole answers\n\n"
          "| requests | failed | p50, p99 (ms) | p99 of sending late (ms) | resident at first, at "
          "last (MiB) | slope (KiB/minute) | descriptors before, after |\n|---|---|---|---|---|---|---|")
    print(f"| {len(results)} | {failed} | {percentile(good, .5):.0f}, {percentile(good, .99):.0f} | "
          f"{1e3 * percentile(late, .99):.1f} | {kept[0][1] / 1024:.1f}, {kept[-1][1] / 1024:.1f} | "
          f"{slope(kept):+.1f} | {before}, {after} |", flush=True)
    return failed + service.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--weights", default="weights/demo")
    parser.add_argument("--photo", type=Path, default="tests/data/cat.jpg")
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of the closed loop")
    parser.add_argument("--reload-seconds", type=int, default=20)
    parser.add_argument("--queue", type=int, default=64, help="of the open loop")
    parser.add_argument("--daemon", default="", help="its further options, in one word")
    parser.add_argument("--only", choices=("lone", "closed", "open", "reload", "end"))
    parser.add_argument("--apart", action="store_true",
                        help="the closed loop's generator on a CPU of its own")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="nothing but a soak")
    args = parser.parse_args()
    cpus = [str(cpu) for cpu in sorted(os.sched_getaffinity(0))]
    args.served_by = ["taskset", "-c", ",".join(cpus[:-1])] if args.apart else []
    args.asked_by = ["taskset", "-c", cpus[-1]] if args.apart else []
    with tempfile.TemporaryDirectory() as folder:
        args.upload = Upload(folder, "photo", args.photo.read_bytes(), "image/jpeg")
        print(f"{cpu_name()}, {len(cpus)} CPUs, {args.seconds} s each, "
              f"{describe(args)}")
        if args.soak:
            return 1 if soak(args) else 0
        failed = 0
        if args.only in (None, "lone"):
            args.lone = compile_lone(folder)
            failed += show_lone_client(args)
        if args.only in (None, "closed"):
            failed += show_closed_loop(args)
        if args.only in (None, "open"):
            failed += show_open_loop(args)
        for name, show in (("reload", show_reloads), ("end", show_end)):
            if args.only in (None, name):
                failed += show(args, find_capacity(args))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
