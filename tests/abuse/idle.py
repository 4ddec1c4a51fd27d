#!/usr/bin/env python3
"""Opens thousands of idle connections to a running senetd, and looks how others fare.

First as many as --max-connections allows: half of them silent, half idle after a request. Then the same against the
default limit, where those that were idle for longest must make room. A good client is served throughout, and
afterwards descriptors are closed. Needs as many descriptors on both sides (root may raise the limit itself).
"""
import argparse
import http.client
import resource
import socket
import time

import serving

PICTURE = (serving.ROOT / "tests/data/cat.jpg").read_bytes()
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def open_many(port, count):
    clients = []
    for number in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        if number % 2 == 1:
            client.sendall(REQUEST)
        clients.append(client)
    return clients


def still_open(clients):
    count = 0
    for client in clients:
        client.setblocking(False)
        try:
            while True:
                if not client.recv(65536):
                    break
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


def serve(daemon):
    """Seconds that a classification took, on a connection of its own."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=serving.PATIENCE_S)
    connection.request("POST", "/classify?excitations=none", PICTURE)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"a good client was answered {answer.status}")
    return time.monotonic() - begin


def try_with(program, count, *options):
    daemon = serving.Daemon(program, "--idle-timeout", "3600", "--header-timeout", "3600", *options)
    serve(daemon)
    memory, descriptors = daemon.memory_mb(), daemon.descriptors()
    clients = open_many(daemon.port, count)
    slowest = max(serve(daemon) for _ in range(20))
    held = still_open(clients)
    print(f"{count} connections opened, {held} held: {daemon.descriptors() - descriptors} descriptors, "
          f"{1024 * (daemon.memory_mb() - memory) / max(held, 1):.1f} KiB each; slowest of 20 classifications "
          f"{1000 * slowest:.0f} ms")
    for client in clients:
        client.close()
    until = time.monotonic() + serving.PATIENCE_S
    while daemon.descriptors() > descriptors and time.monotonic() < until:
        time.sleep(0.1)
    left, status = daemon.descriptors() - descriptors, daemon.stop()
    print(f"after they closed: {max(left, 0)} descriptors left, exit status {status}")
    if left > 0 or status != 0:
        raise SystemExit(1)
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--connections", type=int, default=10000)
    args = parser.parse_args()
    needed = args.connections + 1000
    hard = max(needed, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    if try_with(args.senetd, args.connections, "--max-connections", str(args.connections + 100)) < args.connections:
        raise SystemExit("connections within the limit were closed")
    if try_with(args.senetd, args.connections) > 1100:
        raise SystemExit("more connections than the limit were held")


if __name__ == "__main__":
    main()
