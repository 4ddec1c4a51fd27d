#!/usr/bin/env python3
"""capacity.py - how much a core serves, and tail latency against utilisation: measured, simulated.

The model of a fleet: photos arrive at random (Poisson); a balancer gives each to the replica with
the fewest at hand (leastconn) up to its maxconn, and queues the rest; a replica's worker takes one
photo after the other, the same time for each. So one number describes a replica. `check` sends the
very same arrivals through a daemon on one core and through the simulation and prints both; what a
photo takes it learns from the daemon's answers in that row, so that a machine that changes its speed
between rows is no error of the simulation.

    capacity.py sizes                                 a core by precision, a replica's memory
    capacity.py check                                 the simulation beside a real daemon
    capacity.py plan --photo-ms 35                    tail latency, cores and cost of a fleet
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
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import simpy

TOP = pathlib.Path(__file__).resolve().parents[1]
CLIENTS = 8  # of a closed loop that keeps a replica busy
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
    def __init__(self, env, service):
        self.env, self.service = env, service
        self.waiting = simpy.Store(env)
        self.at_hand = 0
        env.process(self.work())

    def work(self):
        while True:
            done = yield self.waiting.get()
            yield self.env.timeout(self.service)
            done.succeed()
            self.at_hand -= 1


def arrivals(rate, count, seed=1):
    """Poisson: when each of count requests is due, in seconds."""
    dice, at = random.Random(seed), 0.0
    return [at := at + dice.expovariate(rate) for _ in range(count)]


def simulate(due, service, replicas=1, maxconn=4, patience=5.0):
    """Latencies in seconds of the requests served, and the share refused after patience."""
    env = simpy.Environment()
    fleet = [Replica(env, service) for _ in range(replicas)]
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

    def come():
        for at in due:
            yield env.timeout(at - env.now)
            env.process(request())

    env.process(come())
    env.run()
    return latencies, refused / max(1, refused + len(latencies))


# ---- a real daemon -------------------------------------------------------------------------------


class Daemon:
    """On core 0, one decoder; ready_s: from its start until it was ready."""

    def __init__(self, options, workers=1, precision="fp32"):
        self.folder = tempfile.TemporaryDirectory()
        weights = weights_of(options, precision)
        port_file = pathlib.Path(self.folder.name) / "port"
        begin = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", options.senetd, "--weights", weights, "--listen",
             "127.0.0.1:0", "--admin-listen", "off", "--port-file", port_file, "--precision",
             precision, "--workers", str(workers), "--threads", "1", "--decoders", "1",
             "--log-level", "warn"])
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
        """Seconds until the answer, and what it says; whatever else comes ends the measurement."""
        begin = time.monotonic()
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.request("POST", "/classify?excitations=none", self.photo)
        answer = link.getresponse()
        text = answer.read()
        link.close()
        if answer.status != 200:
            print(f"the daemon said {answer.status}: {text[:200]}", file=sys.stderr, flush=True)
            os._exit(1)
        return time.monotonic() - begin, json.loads(text)

    def closed_loop(self, clients, seconds):
        """Requests a second."""
        end, answers = time.monotonic() + seconds, []

        def client():
            while time.monotonic() < end:
                answers.append(self.ask())

        threads = [threading.Thread(target=client) for _ in range(clients)]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(answers) / (time.monotonic() - begin)

    def open_loop(self, due):
        """Of requests sent whatever became of those before: latencies from when each was due,
        seconds in the network, and the seconds around that and the queue."""
        times, service, around, threads = [], [], [], []
        begin = time.monotonic()

        def client(at):
            taken, answer = self.ask()
            times.append(time.monotonic() - begin - at)
            timing = answer["timing_ms"]
            service.append(timing["inference"] / 1e3)
            around.append(taken - (timing["queue"] + timing["inference"]) / 1e3)

        for at in due:
            time.sleep(max(0, begin + at - time.monotonic()))
            threads.append(threading.Thread(target=client, args=[at]))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return times, service, around

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


def weights_of(options, precision):
    """int8 may have weights of its own: those of senetd quantize."""
    return options.int8_weights if precision == "int8" and options.int8_weights else options.weights


def bench(options, precision):
    """What senetd bench says; None where the weights or the CPU have no such precision."""
    done = subprocess.run(
        ["taskset", "-c", "0", options.senetd, "bench", "--json", "--weights",
         weights_of(options, precision), "--precision", precision, "--threads", "1", "--seconds",
         str(math.ceil(options.seconds / 3))], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"{precision}: {done.stderr.strip()}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


# ---- the tables ----------------------------------------------------------------------------------


def sizes(options):
    lines = [f"{processor()}; `{pathlib.Path(options.weights).name}`:", "",
             "| precision | kernels | ms an image | images/s a core | MB, 1 worker | MB, 2 workers "
             "| start to ready | US$ a million images |", "|---" * 8 + "|"]
    for precision in PRECISIONS:
        alone = bench(options, precision)
        if alone is None:
            continue
        memory = []
        for workers in (1, 2):
            with Daemon(options, workers, precision) as daemon:
                daemon.closed_loop(CLIENTS, options.seconds / 3)
                memory.append(daemon.megabytes())
                if workers == 1:
                    ready = daemon.ready_s
        cost = dollars_a_million(options.core_hour, UTILISATION * alone["images_per_s"])
        lines.append(f"| {precision} | {alone['kernels']} | {alone['ms_per_image']['median']:.1f} | "
                     f"{alone['images_per_s']:.1f} | {memory[0]:.0f} | {memory[1]:.0f} | "
                     f"{ready * 1e3:.0f} ms | {cost:.2f} |")
    return "\n".join(lines)


def check(options):
    with Daemon(options) as daemon:
        daemon.closed_loop(CLIENTS, 2)
        full = daemon.closed_loop(CLIENTS, options.seconds)
        options.service = 1 / full
        lines = [f"{processor()}, the daemon on one of them, {full:.1f} images/s when it is full. "
                 f"{options.arrivals} photos a row.", "",
                 "| images/s | utilisation | p50 measured | simulated | p95 measured | simulated |",
                 "|---" * 6 + "|"]
        for share in (0.3, 0.5, 0.7, 0.8, 0.9):
            rate = share * full
            due = arrivals(rate, options.arrivals)
            real, network, around = daemon.open_loop(due)
            service = statistics.mean(network)
            queued, _ = simulate(due, service, maxconn=10**6, patience=10**6)
            model = [seconds + statistics.median(around) for seconds in queued]
            cells = [f"{percentile(t, q) * 1e3:.0f} ms" for q in (0.5, 0.95) for t in (real, model)]
            lines.append(f"| {rate:.1f} | {100 * rate * service:.0f} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def plan(options):
    """A cell: as many replicas of one core as one balancer is given; beside it, one core alone."""
    capacity = 1 / options.service
    lines = [f"A core: {capacity:.1f} images/s; US$ {options.core_hour} a core-hour; {options.rate:,} images/s "
             "in all.", "",
             f"| utilisation | p50 / p99 / p99.9, {options.cell} cores behind a balancer | p50 / p99 / "
             "p99.9, one core alone | cores | US$ a million images |", "|---" * 5 + "|"]
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        tails = []
        for cell in (options.cell, 1):
            rate = share * capacity * cell
            times, _ = simulate(arrivals(rate, options.requests), options.service, replicas=cell)
            tails.append(" / ".join(f"{percentile(times, q) * 1e3:.0f}" for q in (0.5, 0.99, 0.999)))
        lines.append(f"| {100 * share:.0f} % | {tails[0]} ms | {tails[1]} ms | "
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
    parser.add_argument("--int8-weights", help="of senetd quantize, for the row of int8")
    parser.add_argument("--seconds", type=float, default=15, help="of a measurement")
    parser.add_argument("--photo-ms", type=float, help="plan: what one takes a core; from check")
    parser.add_argument("--rate", type=int, default=10000, help="plan: images a second in all")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price, US$")
    parser.add_argument("--cell", type=int, default=32, help="plan: cores behind one balancer")
    parser.add_argument("--requests", type=int, default=20000, help="plan: to simulate a row")
    parser.add_argument("--arrivals", type=int, default=500, help="check: photos of a row")
    options = parser.parse_args()
    if options.what == "plan" and options.photo_ms is None:
        parser.error("plan needs --photo-ms")
    options.service = (options.photo_ms or 0) / 1e3
    # The daemon has core 0 to itself.
    os.sched_setaffinity(0, {os.cpu_count() - 1})
    for name in TABLES if options.what == "all" else [options.what]:
        text = TABLES[name](options)
        print(text, end="\n\n", flush=True)
        if options.record:
            record(name, text)


if __name__ == "__main__":
    main()
