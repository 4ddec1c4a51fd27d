#!/usr/bin/env python3
"""Kills the only decoder of a running senetd again and again, and tells how soon the next photo is answered."""
import argparse
import contextlib
import http.client
import os
import signal
import statistics
import time

import serving

PICTURE = (serving.ROOT / "tests/data/cat.jpg").read_bytes()


def post(daemon):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=serving.PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("POST", "/classify?excitations=none", PICTURE)
        return connection.getresponse().status


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--times", type=int, default=50)
    args = parser.parse_args()
    daemon = serving.Daemon(args.senetd, "--decoders", "1")
    post(daemon)
    took = []
    for _ in range(args.times):
        os.kill(daemon.processes()[-1], signal.SIGKILL)  # the daemon's child is the keeper, the keeper's the decoder
        begin = time.monotonic()
        if post(daemon) != 200:
            raise SystemExit("the photo after a decoder's death was not served")
        took.append(1000 * (time.monotonic() - begin))
    print(f"{args.times} decoders killed: the next photo took {statistics.median(took):.1f} ms (median), "
          f"{max(took):.1f} ms at most; exit status {daemon.stop()}")


if __name__ == "__main__":
    main()
