#!/usr/bin/env python3
"""fleet.py - HAProxy and three senetd in network namespaces, under constant load, while things fail.

Each replica is a real process behind a veth pair of its own, so that a cut is a cut. The balancer
runs deploy/haproxy/haproxy.cfg with its server-template line replaced by three addresses. Clients
send photos all the time; every answer that is not 200 with the expected label counts as failed.
Root, iproute2, haproxy.
"""

import argparse
import atexit
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from load import Load, go_through

TOP = pathlib.Path(__file__).resolve().parents[2]
TAG = f"snt{os.getpid() % 10000}"
NET = "10.99.77"
LB = f"{NET}.1"
SLOTS = 4  # requests that the balancer sends to a replica at once (maxconn of haproxy.cfg)


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


class Replica:
    def __init__(self, index, options):
        self.index, self.options = index, options
        self.space, self.link = f"{TAG}r{index}", f"{TAG}v{index}"
        self.address = f"{NET}.{10 + index}"
        self.log = options.work / f"replica{index}.log"
        self.process = None
        run("ip", "netns", "add", self.space)
        atexit.register(run, "ip", "netns", "delete", self.space, check=False)
        run("ip", "link", "add", self.link, "netns", f"{TAG}lb", "type", "veth",
            "peer", "name", "eth0", "netns", self.space)
        run("ip", "-n", f"{TAG}lb", "link", "set", self.link, "master", "br0", "up")
        run("ip", "-n", self.space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.space, "link", "set", "eth0", "up")
        run("ip", "-n", self.space, "link", "set", "lo", "up")

    def start(self, weights=None, core=None):
        pin = ["taskset", "-c", str(core)] if core is not None else []
        command = ["ip", "netns", "exec", self.space, *pin, self.options.senetd,
                   "--listen", ":8080", "--weights", str(weights or self.options.weights),
                   "--workers", "1", "--threads", "1", "--decoders", "1", "--queue", "32",
                   "--drain-delay", "3"]
        self.process = subprocess.Popen(command, stderr=open(self.log, "a"))
        atexit.register(self.kill)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def is_ready(self):
        return run("ip", "netns", "exec", self.space, self.options.senetd, "health",
                   "--listen", ":8080", check=False).returncode == 0

    def wait_ready(self):
        for _ in range(600):
            if self.is_ready():
                return
            time.sleep(0.1)
        sys.exit(f"replica {self.index} is not ready:\n{self.log.read_text()[-2000:]}")

    def link_set(self, state):
        run("ip", "-n", f"{TAG}lb", "link", "set", self.link, state)


def balancer(options, replicas):
    text = (TOP / "deploy/haproxy/haproxy.cfg").read_text()
    servers = "\n".join(f"    server r{r.index} {r.address}:8080" for r in replicas)
    text, count = re.subn(r"^    server-template .*$", servers, text, flags=re.M)
    assert count == 1
    config = options.work / "haproxy.cfg"
    config.write_text(text)
    process = subprocess.Popen(["ip", "netns", "exec", f"{TAG}lb", "haproxy", "-db", "-f", config],
                               stdout=open(options.work / "haproxy.log", "w"),
                               stderr=subprocess.STDOUT)
    atexit.register(process.kill)
    for _ in range(100):
        try:
            http.client.HTTPConnection(LB, 8000, timeout=1).request("GET", "/balancer")
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("no balancer:\n" + (options.work / "haproxy.log").read_text())


def enter_lb():
    """This process, and so its clients, moves into the balancer's namespace."""
    run("ip", "netns", "add", f"{TAG}lb")
    atexit.register(run, "ip", "netns", "delete", f"{TAG}lb", check=False)
    for words in (["link", "add", "br0", "type", "bridge"], ["link", "set", "br0", "up"],
                  ["link", "set", "lo", "up"], ["addr", "add", f"{LB}/24", "dev", "br0"]):
        run("ip", "-n", f"{TAG}lb", *words)
    import ctypes
    with open(f"/run/netns/{TAG}lb") as space:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(space.fileno(), 0x40000000) != 0:
            sys.exit("setns: " + os.strerror(ctypes.get_errno()))


def rolling_restart(replicas, pause):
    for replica in replicas:
        replica.process.send_signal(signal.SIGTERM)
        if (status := replica.process.wait(60)) != 0:
            sys.exit(f"SIGTERM ended replica {replica.index} with {status}")
        replica.start()
        replica.wait_ready()
        time.sleep(pause)


def kill_9(replica, pause):
    replica.kill()
    time.sleep(pause)
    replica.start()
    replica.wait_ready()
    time.sleep(pause)


def freeze(replica, pause):
    replica.process.send_signal(signal.SIGSTOP)
    time.sleep(6 + pause)
    replica.process.send_signal(signal.SIGCONT)
    time.sleep(pause)


def cut(replica, pause):
    replica.link_set("down")
    time.sleep(6 + pause)
    replica.link_set("up")
    time.sleep(pause)


def bad_weights(replica, options, pause):
    """A roll-out of a model that is broken: the replica ends by itself and is never asked."""
    bad = options.work / "bad"
    shutil.copytree(options.weights, bad)
    model = bad / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1000])
    replica.process.send_signal(signal.SIGTERM)
    replica.process.wait(60)
    replica.start(bad)
    if (status := replica.process.wait(60)) != 1:
        sys.exit(f"bad weights ended the replica with {status}, expected 1")
    time.sleep(pause)
    replica.start()
    replica.wait_ready()


def throughput(options, replicas, body, label):
    """Images a second with one replica, then two, each on a core of its own."""
    rates = []
    for count in (1, 2):
        for replica in replicas:
            replica.kill()
        for core, replica in enumerate(replicas[:count]):
            replica.start(core=core)
            replica.wait_ready()
        time.sleep(8)  # the balancer's slow start
        load = Load(LB, 8000, 16, body, label)
        time.sleep(3)
        load.take()
        time.sleep(options.seconds)
        done, failures, _ = load.take()
        load.finish()
        if failures:
            sys.exit(f"throughput: {failures[:3]}")
        rates.append(done / options.seconds)
    print(f"fleet: {rates[0]:.1f} images/s with one replica, {rates[1]:.1f} with two: "
          f"{rates[1] / rates[0]:.2f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--senetd", default=str(TOP / "build/senetd"))
    parser.add_argument("--weights", type=pathlib.Path,
                        default=TOP / "tests/golden/fixtures/tiny_timm")
    parser.add_argument("--clients", type=int, default=16,
                        help="by default more than two replicas have slots for")
    parser.add_argument("--pause", type=float, default=2, help="seconds around each event")
    parser.add_argument("--throughput", action="store_true", help="measure one replica against two")
    parser.add_argument("--only-throughput", action="store_true", help="and nothing else")
    parser.add_argument("--seconds", type=float, default=10, help="of each throughput measurement")
    options = parser.parse_args()
    options.work = pathlib.Path(tempfile.mkdtemp(prefix="senetd-fleet-"))
    atexit.register(shutil.rmtree, options.work, ignore_errors=True)
    options.senetd, options.weights = os.path.abspath(options.senetd), options.weights.resolve()
    picture = TOP / "tests/data/cat.jpg"
    label = json.loads(run(options.senetd, "classify", "--json", "--weights", str(options.weights),
                           str(picture)).stdout)["results"][0]["top_k"][0]["label"]
    enter_lb()
    replicas = [Replica(i, options) for i in (1, 2, 3)]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.wait_ready()
    balancer(options, replicas)
    time.sleep(2)

    # What may fail: nothing that the daemon or the balancer sees coming; of the rest, what was in
    # flight at the lost replica.
    pause = options.pause
    phases = [
        ("steady", 0, lambda: time.sleep(pause)),
        ("rolling restart", 0, lambda: rolling_restart(replicas, pause)),
        ("kill -9", SLOTS, lambda: kill_9(replicas[0], pause)),
        ("SIGSTOP", SLOTS, lambda: freeze(replicas[1], pause)),
        ("network cut", SLOTS, lambda: cut(replicas[2], pause)),
        ("bad weights", 0, lambda: bad_weights(replicas[0], options, pause)),
    ]
    bad = []
    if not options.only_throughput:
        load = Load(LB, 8000, options.clients, picture.read_bytes(), label)
        bad = go_through("fleet", load, phases)
        load.finish()
    if options.throughput or options.only_throughput:
        throughput(options, replicas, picture.read_bytes(), label)
    if bad:
        print((options.work / "haproxy.log").read_text()[-3000:])
        sys.exit("\n".join(bad))


if __name__ == "__main__":
    main()
