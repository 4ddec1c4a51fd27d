#!/usr/bin/env python3
"""Sends small files that ask for much work or memory to a running senetd, and prints what each got and cost.

Each goes to a daemon of its own, so that the highest memory is that file's. A refused one may take 0.2 s of CPU time,
a served one 2 s, and none more than 256 MB in a process; else the script ends with status 1. The files are made here;
most of them have crashed, filled or held up a decoder somewhere (CVE-2021-42715 among them).
"""
import argparse
import http.client
import pathlib
import struct
import time
import zlib

import serving

MOST_REFUSED_S, MOST_SERVED_S, MOST_MB = 0.2, 2.0, 256
REFUSED = (413, 415, 422)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def zeros(count):
    """That many, deflated."""
    stream, out, piece = zlib.compressobj(9), [], bytes(1 << 20)
    for _ in range(count >> 20):
        out.append(stream.compress(piece))
    return b"".join(out) + stream.compress(bytes(count & 0xFFFFF)) + stream.flush()


def png(width, height, inflated, more=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zeros(inflated))
            + chunk(b"IEND", b""))


def repeated_scans():
    data = (serving.ROOT / "tests/golden/preprocess/progressive.jpg").read_bytes()
    scan = data[data.rindex(b"\xff\xda"):-2]
    return data[:-2] + scan * (2_000_000 // len(scan)) + b"\xff\xd9"


def long_huffman_table():
    data = (serving.ROOT / "tests/data/cat.jpg").read_bytes()
    table = bytes([0]) + bytes([255] * 16) + bytes(255 * 16)
    return data[:2] + b"\xff\xc4" + struct.pack(">H", 2 + len(table)) + table + data[2:]


def gif(width, height, frames):
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return (b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * frames
            + b"\x3b")


def bombs():
    text = chunk(b"zTXt", b"Comment\0\0" + zeros(1 << 28))
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, 20000, -20000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "PNG of 1 x 1, IDAT inflates to 1 GiB", png(1, 1, 1 << 30)
    yield "PNG of 100,000 x 100,000", png(100000, 100000, 1 << 20)
    yield "PNG of 7071 x 7071 with 1 KB of data", png(7071, 7071, 1 << 20)
    yield "PNG of 7071 x 7071, whole", png(7071, 7071, 7071 * (1 + 3 * 7071))
    yield "PNG with a text that inflates to 256 MiB", png(64, 64, 64 * 193, text)
    yield "JPEG of 2 MB that repeats a scan", repeated_scans()
    yield "JPEG with 4080 Huffman symbols in a table", long_huffman_table()
    yield "BMP of 20,000 x -20,000 in 54 bytes", bmp
    yield "HDR with a run of 40,000 and no end", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 40000\n\2\2\x9c\x40"
    yield "PGM of 16 bits, valid", b"P5 64 64 65535\n" + bytes(64 * 64 * 2)
    yield "GIF of 5000 x 5000, 3 frames", gif(5000, 5000, 3)
    yield "WebP of 16,384 x 16,384", (b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<I", 14)
                                      + b"\x2f" + struct.pack("<I", 16383 | 16383 << 14) + bytes(9))


def highest_mb(daemon):
    """The highest memory that one of its processes had."""
    most = 0
    for pid in daemon.processes():
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                most = max(most, int(line.split()[1]) / 1024)
    return most


def send(program, data, options):
    """Status, milliseconds, CPU seconds, megabytes, what was said."""
    daemon = serving.Daemon(program, "--decoders", "1", "--workers", "1", *options)
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=serving.PATIENCE_S)
    spent, begin = daemon.cpu_s(), time.monotonic()
    connection.request("POST", "/classify?excitations=none", data)
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    ms, spent, mb = 1000 * (time.monotonic() - begin), daemon.cpu_s() - spent, highest_mb(daemon)
    connection.close()
    if daemon.get("/readyz") != 200 or daemon.stop() != 0:
        raise SystemExit(f"the daemon does not go on after {text[:200]}")
    return answer.status, ms, spent, mb, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("options", nargs="*", help="for senetd, after --")
    args = parser.parse_args()
    bad = False
    print("| file | bytes | answer | ms | CPU ms | most MB |\n|---|---|---|---|---|---|")
    for name, data in bombs():
        status, ms, spent, mb, text = send(args.senetd, data, args.options)
        print(f"| {name} | {len(data):,} | {status} | {ms:.0f} | {1000 * spent:.0f} | {mb:.0f} |", flush=True)
        allowed = MOST_SERVED_S if status == 200 else MOST_REFUSED_S
        if status not in (200, *REFUSED) or spent > allowed or mb > MOST_MB:
            bad = True
            print(f"not allowed: {text[:300]}")
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
