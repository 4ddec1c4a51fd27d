"""The daemon as a child process, for the tests that drive it with clients in Python."""
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Daemon:
    """Started by `with`, on a free port; its answer to GET /readyz was 200. address, admin: "host:port"."""

    def __init__(self, senetd, *options):
        self.command = [str(ROOT / senetd), "--listen", "127.0.0.1:0", "--admin-listen",
                        "127.0.0.1:0", *options]

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        port_file = Path(self.folder.name) / "port"
        self.log = open(Path(self.folder.name) / "log", "w")
        self.process = subprocess.Popen([*self.command, "--port-file", str(port_file)],
                                        stderr=self.log, cwd=ROOT)
        for _ in range(1200):
            if self.process.poll() is not None:
                break
            if port_file.exists() and port_file.read_text().strip():
                self.address = f"127.0.0.1:{port_file.read_text().strip()}"
                if self.is_ready():
                    self.admin = re.search(r"admin http://([\d.:]+)", self.whole_log()).group(1)
                    return self
            time.sleep(0.1)
        raise SystemExit(f"the daemon did not come up: {self.read_log()}")

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}/readyz", timeout=60):
                return True
        except urllib.error.URLError:
            return False

    def whole_log(self):
        return (Path(self.folder.name) / "log").read_text()  # self.log's offset is the daemon's

    def read_log(self):
        return self.whole_log()[-2000:]

    def __exit__(self, *_):
        died = self.process.poll() is not None
        self.process.terminate()
        status = self.process.wait(timeout=60)
        log = self.read_log()
        self.log.close()
        self.folder.cleanup()
        if died or status != 0:
            raise SystemExit(f"the daemon ended with status {status}: {log}")
