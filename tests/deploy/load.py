"""load.py - clients that send a photo all the time, while a fleet goes through its phases.

Every answer that is not 200 with the expected label counts as failed.
"""

import http.client
import json
import socket
import struct
import threading
import time


# A connection is reset once its answer was read. Otherwise each would keep its port for a minute
# after its end, and a machine that answers 500 requests a second runs out of ports.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Load:
    """Client threads; a failure is remembered with the phase in which it was seen."""

    def __init__(self, host, port, clients, body, label):
        self.address, self.body, self.label = (host, port), body, label
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.done, self.failures, self.slowest = 0, [], 0.0
        self.threads = [threading.Thread(target=self.client, daemon=True)
                        for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self):
        while not self.stop.is_set():
            begin, why = time.monotonic(), None
            try:
                link = http.client.HTTPConnection(*self.address, timeout=30)
                link.connect()
                link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                link.request("POST", "/classify?excitations=none&topk=1", self.body)
                answer = link.getresponse()
                text = answer.read()
                if answer.status != 200:
                    why = f"{answer.status} {text[:100]!r}"
                elif (label := json.loads(text)["results"][0]["top_k"][0]["label"]) != self.label:
                    why = f"label {label}"
                link.close()
            except (OSError, http.client.HTTPException) as error:
                why = repr(error)
            with self.lock:
                self.done += 1
                self.slowest = max(self.slowest, time.monotonic() - begin)
                if why:
                    self.failures.append(why)

    def take(self):
        with self.lock:
            result = self.done, self.failures, self.slowest
            self.done, self.failures, self.slowest = 0, [], 0.0
        return result

    def finish(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def go_through(who, load, phases):
    """phases: (name, failures that are allowed, what to do). Of each that had more: what is wrong."""
    bad = []
    for name, allowed, act in phases:
        load.take()
        act()
        done, failures, slowest = load.take()
        line = (f"{who}: {name}: {len(failures)} of {done} failed (at most {allowed} may), "
                f"slowest {slowest * 1000:.0f} ms")
        print(line, flush=True)
        if len(failures) > allowed or done == 0:
            bad.append("\n  ".join([line, *failures[:5]]))
    return bad
