#!/usr/bin/env python3
"""capacity.py - tail latency against utilisation: simulated, and measured on a real daemon.

The model of a fleet: photos arrive at random (Poisson); a balancer gives each to the replica with
the fewest at hand (leastconn) up to its maxconn, and queues the rest; a replica's worker takes what
waits, at most a batch, and works fixed + each * n seconds on n images. Two numbers describe a
replica; `check` takes them from a daemon on one core, then runs the same arrivals through daemon
and simulation and prints both.

    capacity.py check --senetd build/senetd --weights weights/demo
    capacity.py plan --rate 10000 --fixed-ms 4 --each-ms 35 --core-hour 0.04

Needs simpy (PyPI). Run check on an idle machine with two cores: one for the daemon, one for the
clients.
"""

import argparse
import http.client
import math
import os
import pathlib
import random
import subprocess
import tempfile
import threading
import time

import simpy

TOP = pathlib.Path(__file__).resolve().parents[1]
BATCH = 8


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


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
    def __init__(self, options):
        self.folder = tempfile.TemporaryDirectory()
        port_file = pathlib.Path(self.folder.name) / "port"
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", options.senetd, "--weights", options.weights, "--listen",
             "127.0.0.1:0", "--admin-listen", "off", "--port-file", port_file, "--workers", "1", "--threads", "1",
             "--decoders", "1", "--max-batch", str(BATCH)], stderr=subprocess.DEVNULL)
        while subprocess.run([options.senetd, "health", "--listen", "127.0.0.1:0", "--port-file",
                              port_file], capture_output=True).returncode != 0:
            if self.process.poll() is not None:
                raise SystemExit("the daemon ended")
            time.sleep(0.1)
        self.port = int(port_file.read_text())
        self.photo = (TOP / "tests/data/cat.jpg").read_bytes()

    def ask(self):
        begin = time.monotonic()
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        link.request("POST", "/classify?excitations=none", self.photo)
        status = link.getresponse().read() and 200
        link.close()
        return time.monotonic() - begin, status

    def closed_loop(self, clients, seconds):
        """Requests a second, and their mean latency."""
        end, times, lock = time.monotonic() + seconds, [], threading.Lock()

        def client():
            while time.monotonic() < end:
                took, _ = self.ask()
                with lock:
                    times.append(took)

        threads = [threading.Thread(target=client) for _ in range(clients)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(times) / (time.monotonic() - begin), sum(times) / len(times)

    def open_loop(self, rate, seconds, seed):
        """Latencies of requests sent when their time has come, whatever became of those before."""
        dice, times, lock, threads = random.Random(seed), [], threading.Lock(), []

        def one():
            took, _ = self.ask()
            with lock:
                times.append(took)

        at, end = time.monotonic(), time.monotonic() + seconds
        while at < end:
            at += dice.expovariate(rate)
            time.sleep(max(0, at - time.monotonic()))
            threads.append(threading.Thread(target=one))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return times


def check(options):
    daemon = Daemon(options)
    os.sched_setaffinity(0, {1} if os.cpu_count() > 1 else {0})
    try:
        daemon.closed_loop(4, 2)
        _, alone = daemon.closed_loop(1, options.seconds)
        full, _ = daemon.closed_loop(3 * BATCH, options.seconds)
        # alone = fixed + each; a full batch takes BATCH / full = fixed + BATCH * each.
        each = (BATCH / full - alone) / (BATCH - 1)
        fixed = max(0.0, alone - each)
        print(f"alone {alone * 1e3:.1f} ms, full {full:.1f} images/s: fixed {fixed * 1e3:.1f} ms, "
              f"each {each * 1e3:.1f} ms\n")
        print("| utilisation | images/s | p50 measured | simulated | p99 measured | simulated |")
        print("|---|---|---|---|---|---|")
        for share in (0.3, 0.5, 0.7, 0.8, 0.9):
            real = daemon.open_loop(share * full, options.seconds * 2, seed=7)
            model, _ = simulate(share * full, 2000, fixed, each, maxconn=10**6)
            cells = [f"{percentile(t, q) * 1e3:.0f} ms" for q in (0.5, 0.99) for t in (real, model)]
            print(f"| {share:.0%} | {share * full:.1f} | {' | '.join(cells)} |", flush=True)
    finally:
        daemon.process.terminate()
        daemon.process.wait()


def plan(options):
    fixed, each = options.fixed_ms / 1e3, options.each_ms / 1e3
    capacity = BATCH / (fixed + BATCH * each)
    print(f"one core: {capacity:.1f} images/s at full batches\n")
    print("| utilisation | p50 | p99 | p99.9 | cores | US$ a million images |")
    print("|---|---|---|---|---|---|")
    # A cell: as many replicas of one core as one balancer is given here.
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        rate = share * capacity * options.cell
        times, _ = simulate(rate, options.requests / rate, fixed, each, replicas=options.cell)
        cores = math.ceil(options.rate / (share * capacity))
        cost = options.core_hour / 3600 / (share * capacity) * 1e6
        print(f"| {share:.0%} | " + " | ".join(f"{percentile(times, q) * 1e3:.0f} ms"
              for q in (0.5, 0.99, 0.999)) + f" | {cores:,} | {cost:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    checking = commands.add_parser("check")
    checking.set_defaults(run=check)
    checking.add_argument("--senetd", default=str(TOP / "build/senetd"))
    checking.add_argument("--weights", default=str(TOP / "weights/demo"))
    checking.add_argument("--seconds", type=float, default=15)
    planning = commands.add_parser("plan")
    planning.set_defaults(run=plan)
    planning.add_argument("--rate", type=float, default=10000, help="images a second in all")
    planning.add_argument("--fixed-ms", type=float, required=True, help="of a batch; from check")
    planning.add_argument("--each-ms", type=float, required=True, help="of an image; from check")
    planning.add_argument("--core-hour", type=float, default=0.04, help="price, US$")
    planning.add_argument("--cell", type=int, default=32, help="cores behind one balancer")
    planning.add_argument("--requests", type=int, default=40000, help="to simulate a row")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
