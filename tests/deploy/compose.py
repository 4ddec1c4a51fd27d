#!/usr/bin/env python3
"""compose.py PORT LABEL - the fleet of deploy/docker-compose.yml, which runs already, under constant load
while its containers are restarted, killed, frozen, cut off and joined by one with broken weights.

LABEL is what the model says of tests/data/cat.jpg. Started by docker.sh, whose DOCKER_HOST it uses.
"""

import atexit
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from load import Load, go_through

TOP = pathlib.Path(__file__).resolve().parents[2]
SERVICE = "label=com.docker.compose.service=replica"
CLIENTS = 4
PAUSE = 3


def docker(*words):
    done = subprocess.run(["/usr/bin/docker", *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"docker {' '.join(words)}: {done.stderr}")
    return done.stdout.strip()


def inspect(replica):
    return json.loads(docker("inspect", replica))[0]


def send(replica, what):
    os.kill(inspect(replica)["State"]["Pid"], what)


def wait_ready(replica):
    for _ in range(600):
        asked = subprocess.run(["/usr/bin/docker", "exec", replica, "/usr/bin/senetd", "health"],
                               capture_output=True)
        if asked.returncode == 0:
            return
        time.sleep(0.1)
    sys.exit(f"{replica} is not ready:\n{docker('logs', '--tail', '20', replica)}")


def rolling_restart(replicas):
    for replica in replicas:
        docker("stop", "-t", "40", replica)
        if (status := inspect(replica)["State"]["ExitCode"]) != 0:
            sys.exit(f"SIGTERM ended {replica} with {status}")
        docker("start", replica)
        wait_ready(replica)
        time.sleep(PAUSE)


def kill_9(replica):
    send(replica, signal.SIGKILL)
    for _ in range(300):
        state = inspect(replica)
        if state["RestartCount"] == 1 and state["State"]["Running"]:
            break
        time.sleep(0.1)
    else:
        sys.exit(f"{replica} was not restarted")
    wait_ready(replica)
    time.sleep(PAUSE)


def freeze(replica):
    send(replica, signal.SIGSTOP)
    time.sleep(6 + PAUSE)
    send(replica, signal.SIGCONT)
    time.sleep(PAUSE)


def cut(replica):
    network = next(iter(inspect(replica)["NetworkSettings"]["Networks"]))
    docker("network", "disconnect", "-f", network, replica)
    time.sleep(6 + PAUSE)
    docker("network", "connect", "--alias", "replica", network, replica)
    time.sleep(PAUSE)


def bad_weights(replica):
    """One more replica of the same name, with a model that is cut short: never asked, and ends."""
    folder = tempfile.TemporaryDirectory()
    os.chmod(folder.name, 0o755)
    for file in (TOP / "weights/demo").iterdir():
        content = file.read_bytes()
        cut_short = content[:-1000] if file.name == "model.safetensors" else content
        pathlib.Path(folder.name, file.name).write_bytes(cut_short)
    network = next(iter(inspect(replica)["NetworkSettings"]["Networks"]))
    bad = docker("run", "-d", "--network", network, "--network-alias", "replica", "--read-only",
                 "--cap-drop", "ALL", "-v", f"{folder.name}:/weights/demo:ro",
                 inspect(replica)["Config"]["Image"])
    atexit.register(docker, "rm", "-f", bad)
    if (status := docker("wait", bad)) != "1":
        sys.exit(f"bad weights ended the replica with {status}, expected 1:\n{docker('logs', bad)}")
    time.sleep(PAUSE)


def main():
    replicas = docker("ps", "-q", "--filter", SERVICE).split()
    assert len(replicas) == 3, replicas
    for replica in replicas:
        wait_ready(replica)
    # Only what was in flight at the lost replica may fail, and only where it was lost unforeseen.
    phases = [
        ("steady", 0, lambda: time.sleep(PAUSE)),
        ("rolling restart", 0, lambda: rolling_restart(replicas)),
        ("kill -9", CLIENTS, lambda: kill_9(replicas[0])),
        ("SIGSTOP", CLIENTS, lambda: freeze(replicas[1])),
        ("network cut", CLIENTS, lambda: cut(replicas[2])),
        ("bad weights", 0, lambda: bad_weights(replicas[0])),
    ]
    photo = (TOP / "tests/data/cat.jpg").read_bytes()
    load = Load("127.0.0.1", int(sys.argv[1]), CLIENTS, photo, sys.argv[2])
    bad = go_through("compose", load, phases)
    load.finish()
    sys.exit("\n".join(bad) or 0)


if __name__ == "__main__":
    main()
