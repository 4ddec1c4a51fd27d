"""Load generators and observations that the server benchmarks share.

A service is a process tree that listens on 127.0.0.1. The closed loop is wrk's: each client sends
when its last answer has come. The open loop sends on time whether or not answers come; one thread
and epoll, so that it takes little of the cores that it shares with the service, and where it may
of a higher priority (root) and with short slices (Linux 6.12): its own waiting for a core would be
taken for the service's.
"""
import contextlib
import ctypes
import json
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Upload:
    """One photo as a request's body, also in a file for wrk."""

    def __init__(self, folder, name, body, content_type):
        self.body, self.content_type = body, content_type
        self.path = Path(folder) / name
        self.path.write_bytes(body)


class Service:
    """Started here; `up` is how many seconds it took until it answered a first upload."""

    def __init__(self, name, command, port, path, upload, env=None):
        self.name, self.port, self.path, self.upload = name, port, path, upload
        begin = time.monotonic()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log)
        try:
            while (answer := self.ask()) is None:
                if self.process.poll() is not None or time.monotonic() - begin > 120:
                    self.log.seek(0)
                    raise SystemExit(f"{name} did not come up:\n{self.log.read()[-3000:].decode()}")
                time.sleep(0.02)
        except BaseException:
            self.process.kill()
            raise
        self.up, self.answer = time.monotonic() - begin, answer

    def url(self, path=None):
        return f"http://127.0.0.1:{self.port}{path or self.path}"

    def ask(self):
        """The answer to one upload, or None."""
        request = urllib.request.Request(self.url(), data=self.upload.body,
                                         headers={"Content-Type": self.upload.content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except OSError:  # an HTTP error, too
            return None

    def pids(self):
        """The process and all below it."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def resident_bytes(self):
        """What the tree holds, pages that several share counted once (PSS)."""
        total = 0
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
        return total

    def descriptors(self):
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def stop(self, patience=30):
        """SIGTERM; the exit status, -9 where that did not end it in time."""
        tree = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        for pid in tree[1:]:  # workers that outlived their parent
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.log.close()
        return status


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def closed_loop(service, clients, seconds, prefix=()):
    """What wrk.lua prints: answers, failures, seconds, p50_ms, p99_ms, stages_p50_ms. The prefix
    goes before its command."""
    out = subprocess.run(
        [*prefix, "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s",
         str(HERE / "wrk.lua"), service.url(), "--", str(service.upload.path),
         service.upload.content_type],
        check=True, capture_output=True, text=True).stdout
    return json.loads(next(line for line in out.splitlines() if line.startswith("{")))


class Call:
    """One request of the open loop, on a connection of its own."""

    def __init__(self, service, request):
        self.rest, self.answer, self.begin = memoryview(request), bytearray(), time.monotonic()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", service.port))

    def advance(self, events):
        """Sends and reads what is possible; whether the connection is at its end."""
        try:
            if self.rest and events & (select.EPOLLOUT | select.EPOLLIN):
                self.rest = self.rest[self.socket.send(self.rest):]
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                piece = self.socket.recv(1 << 18)
                self.answer += piece
                return not piece
        except BlockingIOError:
            pass
        except OSError:
            return True
        return False

    def status(self):
        """Of a complete answer; 0 where it was lost."""
        head, end, body = bytes(self.answer).partition(b"\r\n\r\n")
        if not end or not head.startswith(b"HTTP/1.1 "):
            return 0
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                       if line.lower().startswith(b"content-length:")), -1)
        return int(head[9:12]) if length == len(body) else 0


SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}


def ask_slice(ns):
    """Of this process; 0: the kernel's usual. sched_attr of sched_setattr(2), which Python lacks."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)  # stays
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, nice, 0, ns, 0, 0)
    if (number := SCHED_SETATTR.get(platform.machine())) is not None:
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)


@contextlib.contextmanager
def served_first():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, before - 10)
    except PermissionError:
        pass
    ask_slice(100000)
    try:
        yield
    finally:
        ask_slice(0)
        os.setpriority(os.PRIO_PROCESS, 0, before)


@served_first()
def open_loop(service, rate, seconds, meanwhile=None):
    """Sends at that rate. meanwhile(elapsed) is called before each request and ends it by True.
    Returns [(status, seconds)], the seconds until the last answer, and how late each was sent."""
    head = (f"POST {service.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: {service.upload.content_type}\r\n"
            f"Content-Length: {len(service.upload.body)}\r\n\r\n").encode()
    request, results, late = head + service.upload.body, [], []
    calls, poll, sent, total = {}, select.epoll(), 0, int(rate * seconds)
    begin = time.monotonic()
    while sent < total or calls:
        wait = begin + sent / rate - time.monotonic()
        if sent < total and wait <= 0:
            if meanwhile is not None and meanwhile(time.monotonic() - begin):
                total = sent
                continue
            call = Call(service, request)
            calls[call.socket.fileno()] = call
            poll.register(call.socket, select.EPOLLIN | select.EPOLLOUT)
            late.append(-wait)
            sent += 1
            continue
        for fd, events in poll.poll(wait if sent < total else 1):
            call = calls[fd]
            if call.advance(events):
                results.append((call.status(), time.monotonic() - call.begin))
                poll.unregister(fd)
                call.socket.close()
                del calls[fd]
            elif not call.rest:
                poll.modify(fd, select.EPOLLIN)
    poll.close()
    return results, time.monotonic() - begin, late


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
