#!/usr/bin/env python3
"""capacity.py - how much a core serves, and tail latency against utilisation: measured, simulated.

The model of a fleet: photos arrive at random (Poisson); a balancer gives each to the replica with
the fewest at hand (leastconn) up to its maxconn, and queues the rest; a replica's worker takes what
waits, at most a batch, and works fixed + each * n seconds on n images. Two numbers describe a
replica; `check` takes them from a daemon on one core, then runs the same arrivals through daemon
and simulation and prints both.

    capacity.py sizes                                 a core by precision, a replica's memory
    capacity.py check                                 the simulation beside a real daemon
    capacity.py plan --fixed-ms 4 --each-ms 35        tail latency, cores and cost of a fleet
    capacity.py all --record                          these, and into the tables of README.md

Needs simpy (PyPI). All but plan want an idle machine with two cores: one for the daemon, one for
the clients.
"""

import argparse
import http.client
import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

import simpy

TOP = pathlib.Path(__file__).resolve().parents[1]
BATCH = 8
PRECISIONS = ("fp32", "bf16", "int8")
UTILISATION = 0.7  # for which a cost is told where no other is


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def dollars_a_million(core_hour, images_per_s):
    return core_hour / 3600 / images_per_s * 1e6


def processor():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{model[1] if model else 'unknown CPU'}, {os.cpu_count()} cores"


# ---- simulated -----------------------------------------------------------------------------------


class Replica:
    def __init__(self, env, fixed, each):
        self.env, self.fixed, self.each = env, fixed, each
        self.waiting = simpy.Store(env)
        self.at_hand = 0
        env.process(self.work())

    def work(self):
        while True:
            batch = [(yield self.waiting.get())]
            while self.waiting.items and len(batch) < BATCH:
                batch.append((yield self.waiting.get()))
            yield self.env.timeout(self.fixed + self.each * len(batch))
            for done in batch:
                done.succeed()
            self.at_hand -= len(batch)


def simulate(rate, seconds, fixed, each, replicas=1, maxconn=16, patience=5.0, seed=1):
    """Latencies in seconds of the requests served, and the share refused after patience."""
    env, dice = simpy.Environment(), random.Random(seed)
    fleet = [Replica(env, fixed, each) for _ in range(replicas)]
    slots = simpy.Resource(env, replicas * maxconn)
    latencies, refused = [], 0

    def request():
        nonlocal refused
        begin = env.now
        with slots.request() as slot:
            got = yield slot | env.timeout(patience)
            if slot not in got:
                refused += 1
                return
            replica = min(fleet, key=lambda r: r.at_hand)
            replica.at_hand += 1
            done = env.event()
            yield replica.waiting.put(done)
            yield done
        latencies.append(env.now - begin)

    def arrivals():
        while True:
            yield env.timeout(dice.expovariate(rate))
            env.process(request())

    env.process(arrivals())
    env.run(until=seconds)
    return latencies, refused / max(1, refused + len(latencies))


# ---- a real daemon -------------------------------------------------------------------------------


class Daemon:
    """On core 0, one decoder; ready_s: from its start until it was ready."""

    def __init__(self, options, workers=1, precision="fp32"):
        self.folder = tempfile.TemporaryDirectory()
        port_file = pathlib.Path(self.folder.name) / "port"
        begin = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", options.senetd, "--weights", options.weights, "--listen",
             "127.0.0.1:0", "--admin-listen", "off", "--port-file", port_file, "--precision",
             precision, "--workers", str(workers), "--threads", "1", "--decoders", "1",
             "--max-batch", str(BATCH), "--log-level", "warn"])
        while not self.ready(options.senetd, port_file):
            if self.process.poll() is not None:
                raise SystemExit("the daemon ended")
            time.sleep(0.01)
        self.ready_s = time.monotonic() - begin
        self.port = int(port_file.read_text())
        self.photo = (TOP / "tests/data/cat.jpg").read_bytes()

    @staticmethod
    def ready(senetd, port_file):
        return port_file.exists() and subprocess.run(
            [senetd, "health", "--listen", "127.0.0.1:0", "--port-file", port_file],
            capture_output=True).returncode == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self):
        """Seconds until the answer; whatever else comes ends the measurement."""
        begin = time.monotonic()
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.request("POST", "/classify?excitations=none", self.photo)
        answer = link.getresponse()
        text = answer.read()
        link.close()
        if answer.status != 200:
            print(f"the daemon said {answer.status}: {text[:200]}", file=sys.stderr, flush=True)
            os._exit(1)
        return time.monotonic() - begin

    def closed_loop(self, clients, seconds):
        """Requests a second, and their mean latency."""
        end, times = time.monotonic() + seconds, []

        def client():
            while time.monotonic() < end:
                times.append(self.ask())

        threads = [threading.Thread(target=client) for _ in range(clients)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(times) / (time.monotonic() - begin), sum(times) / len(times)

    def open_loop(self, rate, seconds, seed):
        """Latencies of requests sent when their time has come, whatever became of those before."""
        dice, times, threads = random.Random(seed), [], []
        at, end = time.monotonic(), time.monotonic() + seconds
        while at < end:
            at += dice.expovariate(rate)
            time.sleep(max(0, at - time.monotonic()))
            threads.append(threading.Thread(target=lambda: times.append(self.ask())))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return times

    def megabytes(self):
        """Memory of the process and those it started; what they share is counted once."""
        parents = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:
                pass
        family = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        kilobytes = 0
        for pid in family:
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
        return kilobytes * 1024 / 1e6


def bench(options, precision, batch):
    """What senetd bench says; None where the weights or the CPU have no such precision."""
    done = subprocess.run(
        ["taskset", "-c", "0", options.senetd, "bench", "--json", "--weights", options.weights,
         "--precision", precision, "--threads", "1", "--batch", str(batch), "--seconds",
         str(math.ceil(options.seconds / 3))], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{precision}: {done.stderr.strip()}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


# ---- the tables ----------------------------------------------------------------------------------


def sizes(options):
    lines = [f"{processor()}; `{pathlib.Path(options.weights).name}`:", "",
             "| precision | kernels | ms an image, batch 1 | images/s a core, batch 8 | MB, 1 worker "
             "| MB, 2 workers | start to ready | US$ a million images |", "|---" * 8 + "|"]
    for precision in PRECISIONS:
        alone = bench(options, precision, 1)
        if alone is None:
            continue
        full = bench(options, precision, BATCH)
        memory = []
        for workers in (1, 2):
            with Daemon(options, workers, precision) as daemon:
                daemon.closed_loop(3 * BATCH, options.seconds / 3)
                memory.append(daemon.megabytes())
                if workers == 1:
                    ready = daemon.ready_s
        cost = dollars_a_million(options.core_hour, UTILISATION * full["images_per_s"])
        lines.append(f"| {precision} | {full['kernels']} | {alone['ms_per_image']['median']:.1f} | "
                     f"{full['images_per_s']:.1f} | {memory[0]:.0f} | {memory[1]:.0f} | "
                     f"{ready * 1e3:.0f} ms | {cost:.2f} |")
    return "\n".join(lines)


def measure(daemon, seconds):
    """fixed and each of the model, from a lone client and from full batches; and images/s."""
    daemon.closed_loop(4, 2)
    _, alone = daemon.closed_loop(1, seconds)
    full, _ = daemon.closed_loop(3 * BATCH, seconds)
    # alone = fixed + each; a full batch takes BATCH / full = fixed + BATCH * each.
    each = (BATCH / full - alone) / (BATCH - 1)
    fixed = alone - each
    if fixed < 0:  # batches cost more an image than a lone one: nothing is fixed
        fixed, each = 0.0, 1 / full
    return fixed, each, full


def check(options):
    with Daemon(options) as daemon:
        options.fixed, options.each, full = measure(daemon, options.seconds)
        lines = [f"{processor()}, the daemon on one of them. Full batches: {full:.1f} images/s; a batch "
                 f"takes {options.fixed * 1e3:.1f} ms and {options.each * 1e3:.1f} ms an image.", "",
                 "| utilisation | images/s | p50 measured | simulated | p99 measured | simulated |",
                 "|---" * 6 + "|"]
        for share in (0.3, 0.5, 0.7, 0.8, 0.9):
            rate = share * full
            real = daemon.open_loop(rate, options.seconds * 2, seed=7)
            model, _ = simulate(rate, options.requests / rate, options.fixed, options.each,
                                maxconn=10**6)
            cells = [f"{percentile(t, q) * 1e3:.0f} ms" for q in (0.5, 0.99) for t in (real, model)]
            lines.append(f"| {share:.0%} | {rate:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plan(options):
    """A cell: as many replicas of one core as one balancer is given; beside it, one core alone."""
    capacity = BATCH / (options.fixed + BATCH * options.each)
    lines = [f"A core: {capacity:.1f} images/s at full batches, {options.fixed * 1e3:.1f} ms a batch and "
             f"{options.each * 1e3:.1f} ms an image; US$ {options.core_hour} a core-hour; "
             f"{options.rate:,} images/s in all.", "",
             f"| utilisation | p50 / p99 / p99.9, {options.cell} cores behind a balancer | p50 / p99 / "
             "p99.9, one core alone | cores | US$ a million images |", "|---" * 5 + "|"]
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        tails = []
        for cell in (options.cell, 1):
            rate = share * capacity * cell
            times, _ = simulate(rate, options.requests / rate, options.fixed, options.each,
                                replicas=cell)
            tails.append(" / ".join(f"{percentile(times, q) * 1e3:.0f}" for q in (0.5, 0.99, 0.999)))
        lines.append(f"| {share:.0%} | {tails[0]} ms | {tails[1]} ms | "
                     f"{math.ceil(options.rate / (share * capacity)):,} | "
                     f"{dollars_a_million(options.core_hour, share * capacity):.2f} |")
    return "\n".join(lines)


def throughput(options):
    everywhere = ["taskset", "-c", f"0-{os.cpu_count() - 1}"]
    return subprocess.run([*everywhere, TOP / "tests/deploy/fleet.py", "--senetd", options.senetd, "--weights",
                           options.weights, "--only-throughput", "--seconds", str(options.seconds)],
                          check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def record(name, text):
    """Into README.md, in place of what stands between the marks of that name."""
    readme = TOP / "deploy/README.md"
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    old = readme.read_text()
    new, count = marks.subn(lambda marks: f"{marks[1]}\n{text}\n\n{marks[2]}", old)
    assert count == 1, f"{readme}: no place for {name}"
    readme.write_text(new)


TABLES = {"sizes": sizes, "check": check, "plan": plan, "throughput": throughput}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=[*TABLES, "all"],
                        help="plan as part of all takes its numbers from check")
    parser.add_argument("--record", action="store_true", help="write the tables into README.md")
    parser.add_argument("--senetd", default=str(TOP / "build/senetd"))
    parser.add_argument("--weights", default=str(TOP / "weights/demo"))
    parser.add_argument("--seconds", type=float, default=15, help="of a measurement")
    parser.add_argument("--fixed-ms", type=float, default=0, help="plan: of a batch; from check")
    parser.add_argument("--each-ms", type=float, help="plan: of an image; from check")
    parser.add_argument("--rate", type=int, default=10000, help="plan: images a second in all")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price, US$")
    parser.add_argument("--cell", type=int, default=32, help="plan: cores behind one balancer")
    parser.add_argument("--requests", type=int, default=20000, help="to simulate a row")
    options = parser.parse_args()
    if options.what == "plan" and options.each_ms is None:
        parser.error("plan needs --each-ms")
    options.fixed, options.each = options.fixed_ms / 1e3, (options.each_ms or 0) / 1e3
    # The daemon has core 0 to itself.
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    for name in TABLES if options.what == "all" else [options.what]:
        text = TABLES[name](options)
        print(text, end="\n\n", flush=True)
        if options.record:
            record(name, text)


if __name__ == "__main__":
    main()
