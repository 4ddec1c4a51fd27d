"""A senetd for the scripts of this folder: started with the tiny model, watched, stopped."""
import contextlib
import http.client
import os
import pathlib
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/golden/fixtures/tiny_timm"
PATIENCE_S = 120


class Daemon:
    def __init__(self, program, *options):
        self.folder = tempfile.TemporaryDirectory()
        port_file = pathlib.Path(self.folder.name) / "port"
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+b")
        self.process = subprocess.Popen(
            [program, "--weights", MODEL, "--listen", "127.0.0.1:0", "--admin-listen", "off", "--port-file", port_file,
             "--log-level", "warn", *options], stderr=self.log)
        self.pid = self.process.pid
        until = time.monotonic() + PATIENCE_S
        while not (port_file.exists() and port_file.read_text().strip()):
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"senetd does not start: {self.tail()}")
            time.sleep(0.02)
        self.port = int(port_file.read_text())
        while self.get("/readyz") != 200:
            if time.monotonic() > until:
                raise SystemExit(f"senetd is not ready: {self.tail()}")
            time.sleep(0.02)

    def tail(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text(errors="replace")[-3000:]

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def processes(self):
        """Its own id and those of its children."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in _tasks(pid):
                with contextlib.suppress(OSError):
                    todo += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return found

    def cpu_s(self):
        """CPU seconds of all its threads and children so far."""
        total = 0
        for pid in self.processes():
            for task in _tasks(pid):
                with contextlib.suppress(OSError):
                    total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        return total / 1e9

    def memory_mb(self):
        """Resident memory, proportional where processes share it."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) / 1024
        return total

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self.log.close()
        self.folder.cleanup()
        return status


def _tasks(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
