#!/usr/bin/env python3
"""server.py - the daemon under load, beside what its engine does alone.

Closed loop (wrk, 1 to 64 clients), open loop (requests leave on time whether or not answers come),
a reload every two seconds, and SIGTERM under load. Prints tables in Markdown. The load generator
shares the machine with the daemon: on few cores it costs the daemon a little.
"""
import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))


class Daemon:
    def __init__(self, args, *options):
        self.folder = tempfile.TemporaryDirectory()
        port_file = os.path.join(self.folder.name, "port")
        self.process = subprocess.Popen(
            [args.senetd, "--weights", args.weights, "--listen", "127.0.0.1:0", "--admin-listen",
             "off", "--port-file", port_file, "--log-level", "warn", *options],
            stderr=subprocess.DEVNULL)
        while not os.path.exists(port_file):
            time.sleep(0.02)
        with open(port_file, encoding="ascii") as file:
            self.port = int(file.read())
        while True:
            try:
                urllib.request.urlopen(self.url("/readyz"), timeout=60).read()
                break
            except OSError:
                time.sleep(0.05)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def metric(self, name):
        text = urllib.request.urlopen(self.url("/metrics"), timeout=60).read().decode()
        return next(float(line.split()[-1]) for line in text.splitlines()
                    if line.startswith(name + " "))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def engine_alone(args):
    """Images per second of the network at its best batch."""
    best = {}
    for batch in (1, 4, 8):
        out = subprocess.run([args.senetd, "bench", "--json", "--weights", args.weights, "--batch",
                              str(batch), "--seconds", str(args.seconds)],
                             check=True, capture_output=True, text=True).stdout
        best[batch] = json.loads(out)["images_per_s"]
    batch = max(best, key=best.get)
    return best[batch], batch


def closed_loop(args, daemon, clients):
    out = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{args.seconds}s", "--timeout", "60s", "-s",
         os.path.join(HERE, "wrk.lua"), daemon.url("/classify"), "--", args.photo],
        check=True, capture_output=True, text=True).stdout
    return json.loads(next(line for line in out.splitlines() if line.startswith("{")))


async def send(daemon, photo, results):
    """One request on a connection of its own: (status, seconds); status 0 where it was lost."""
    begin, status, writer = time.monotonic(), 0, None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(b"POST /classify?excitations=summary HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(photo) + photo)
        answer = await reader.read()
        if answer.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in answer:
            status = int(answer[9:12])
    except OSError:
        pass
    finally:
        if writer is not None:
            writer.close()
    results.append((status, time.monotonic() - begin))


async def open_loop(daemon, photo, rate, seconds, meanwhile=None):
    """Sends at that rate; meanwhile(elapsed) is called before each request and ends it by True.
    Returns the results and the seconds until the last one."""
    results, tasks, begin = [], [], time.monotonic()
    for i in range(int(rate * seconds)):
        await asyncio.sleep(max(0, begin + i / rate - time.monotonic()))
        if meanwhile is not None and meanwhile(time.monotonic() - begin):
            break
        tasks.append(asyncio.create_task(send(daemon, photo, results)))
    await asyncio.gather(*tasks)
    return results, time.monotonic() - begin


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def show_open_loop(args, photo, capacity):
    print(f"\nOpen loop, --queue {args.queue}\n")
    print("| offered | sent | 200 | 503 | other | goodput/capacity | p50, p99 of 200 (ms) | "
          "p99 of 503 (ms) |\n|---|---|---|---|---|---|---|---|")
    for load in (0.5, 0.9, 1.5, 3.0):
        daemon = Daemon(args, "--queue", str(args.queue))
        results, took = asyncio.run(open_loop(daemon, photo, load * capacity, args.seconds))
        good = [1e3 * each for status, each in results if status == 200]
        refused = [1e3 * each for status, each in results if status == 503]
        print(f"| {load} x | {len(results)} | {len(good)} | {len(refused)} | "
              f"{len(results) - len(good) - len(refused)} | {len(good) / took / capacity:.2f} | "
              f"{percentile(good, .5):.0f}, {percentile(good, .99):.0f} | "
              f"{percentile(refused, .99):.1f} |", flush=True)
        daemon.stop()


def show_reloads(args, photo, capacity):
    daemon = Daemon(args)
    reloads = [0]

    def reload_now_and_then(elapsed):
        if elapsed >= 2 * (reloads[0] + 1):
            daemon.process.send_signal(signal.SIGHUP)
            reloads[0] += 1
        return False

    results, _ = asyncio.run(
        open_loop(daemon, photo, capacity / 2, 2 * args.seconds, reload_now_and_then))
    failed = sum(status != 200 for status, _ in results)
    print(f"\nReload every 2 s at 0.5 x capacity: {reloads[0]} asked for, {len(results)} requests, "
          f"{failed} failed")
    daemon.stop()
    return failed


def show_end(args, photo, capacity):
    """SIGTERM: readiness off, then a second of grace in which a proxy would look elsewhere."""
    daemon = Daemon(args, "--drain-delay", "1")

    def end_in_the_middle(elapsed):
        if elapsed >= 2 and not end_in_the_middle.sent:
            daemon.process.send_signal(signal.SIGTERM)
            end_in_the_middle.sent = True
        return elapsed >= 2.5

    end_in_the_middle.sent = False
    results, _ = asyncio.run(open_loop(daemon, photo, 0.9 * capacity, 10, end_in_the_middle))
    lost = sum(status != 200 for status, _ in results)
    code = daemon.process.wait()
    print(f"\nSIGTERM at 0.9 x capacity: {len(results)} requests, {lost} lost, exit status {code}")
    return lost + code


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--weights", default="weights/demo")
    parser.add_argument("--photo", default="tests/data/cat.jpg")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--queue", type=int, default=64, help="of the open loop")
    args = parser.parse_args()
    with open(args.photo, "rb") as file:
        photo = file.read()
    before, batch = engine_alone(args)
    daemon = Daemon(args)
    closed_loop(args, daemon, 1)  # warm
    rows = [(clients, closed_loop(args, daemon, clients)) for clients in (1, 4, 16, 64)]
    daemon.stop()
    after, _ = engine_alone(args)
    capacity = statistics.mean((before, after))
    print(f"Engine alone: {before:.1f} images/s before, {after:.1f} after (batch {batch})\n")
    print("| clients | images/s | of the engine's | p50, p99 (ms) | mean beside decode, preprocess, "
          "infer (ms) | failures |\n|---|---|---|---|---|---|")
    for clients, row in rows:
        rate = row["answers"] / row["seconds"]
        beside = f"{row['mean_ms'] - row['stages_mean_ms']:.2f}" if clients == 1 else ""
        print(f"| {clients} | {rate:.1f} | {100 * rate / capacity:.1f} % | {row['p50_ms']:.1f}, "
              f"{row['p99_ms']:.1f} | {beside} | {row['failures']} |")
    served = max(row["answers"] / row["seconds"] for _, row in rows)
    show_open_loop(args, photo, served)
    return 1 if show_reloads(args, photo, served) + show_end(args, photo, served) else 0


if __name__ == "__main__":
    sys.exit(main())
