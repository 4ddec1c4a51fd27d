#!/usr/bin/env python3
"""Sends thousands of broken pictures to a running senetd, and holds it to what SECURITY.md says.

Pictures of every format (tests/golden/preprocess, tests/data, stubs of foreign formats) are damaged by a seeded
mutator: flipped bits, cuts, splices, spoilt numbers in the header, ranges dropped, doubled or blanked. Each is sent
as a bare body, a form or JSON. Every answer must be 200, 400, 413, 415 or 422, and cost at most a second of the
daemon's CPU time, which does not depend on what else the machine does. Large pictures leave memory with the
allocator, so all are sent --passes times: the last must add none. Afterwards the daemon must give the
same answers to the undamaged pictures, with as many descriptors as before.
Inputs that break a rule are left in build/torture. The same --seed makes the same inputs.
"""
import argparse
import base64
import collections
import http.client
import json
import pathlib
import random
import struct
import time

import serving

STUBS = {
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "tiff": b"II*\0\x08\0\0\0\0\0\0\0\0\0", "elf": b"\x7fELF\x02\x01\x01" + bytes(57), "gzip": b"\x1f\x8b\x08" + bytes(20),
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 40000\n\2\2\x9c\x40", "ico": b"\0\0\1\0\1\0\x10\x10" + bytes(14),
    "html": b"<!doctype html><p>", "zip": b"PK\3\4" + bytes(26), "jxl": b"\xff\x0a" + bytes(20),
}
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 20000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFB1E0)
ALLOWED = (200, 400, 413, 415, 422)
MOST_CPU_S = 1.0
MOST_GROWTH_MB = 8


def flip_bits(data, other, rng):
    for _ in range(1 + int(len(data) * 8 * 10 ** rng.uniform(-6, -1.5))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut(data, other, rng):
    return data[:rng.randrange(len(data))]


def splice(data, other, rng):
    return data[:rng.randrange(len(data))] + other[rng.randrange(len(other)):]


def spoil_number(data, other, rng):
    for _ in range(rng.randint(1, 4)):
        size, order = rng.choice((1, 2, 4)), rng.choice("<>")
        at = rng.randrange(min(len(data), rng.choice((32, 64, 256, len(data)))))
        number = struct.pack(f"{order}I", rng.choice(NUMBERS))
        data[at:at + size] = number[:size] if order == "<" else number[4 - size:]
    return data


def drop(data, other, rng):
    at = rng.randrange(len(data))
    del data[at:at + 1 + rng.randrange(64)]
    return data


def double(data, other, rng):
    at = rng.randrange(len(data))
    piece = data[at:at + 1 + rng.randrange(1024)]
    return data[:at] + piece * rng.randint(2, 20) + data[at:]


def blank(data, other, rng):
    at = rng.randrange(len(data))
    size = min(1 + rng.randrange(256), len(data) - at)
    data[at:at + size] = bytes([rng.choice((0, 0xFF, 0x20))]) * size
    return data


MUTATIONS = (flip_bits, flip_bits, flip_bits, cut, splice, spoil_number, spoil_number, drop, double, blank)


def damaged(seeds, rng):
    data = bytearray(rng.choice(seeds))
    for _ in range(1 if rng.random() < 0.7 else rng.randint(2, 4)):
        if data:
            data = rng.choice(MUTATIONS)(data, rng.choice(seeds), rng)
    return bytes(data)


def wrapped(data, number):
    """Body and Content-Type, in one of the three forms."""
    if number % 8 == 1:
        head = b'--X\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        return head + data + b"\r\n--X--\r\n", "multipart/form-data; boundary=X"
    if number % 16 == 2:
        return json.dumps({"image": {"b64": base64.b64encode(data).decode()}}).encode(), "application/json"
    return data, "application/octet-stream"


class Client:
    def __init__(self, port):
        self.port, self.connection = port, None

    def post(self, body, kind):
        """Status and content; status 0 where there was no answer."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=serving.PATIENCE_S)
        try:
            self.connection.request("POST", "/classify?excitations=none", body, {"Content-Type": kind})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return 0, b""


def undamaged(client, pictures):
    """What the daemon says of the whole pictures."""
    told = []
    for picture in pictures:
        status, content = client.post(picture, "application/octet-stream")
        if status != 200:
            raise SystemExit(f"an undamaged picture gave {status}: {content[:200]}")
        told.append([result.get("top_k") for result in json.loads(content)["results"]])
    return told


def send_all(daemon, client, seeds, args, costs, faults):
    """All damaged inputs, one after the other; how often each status was answered."""
    rng, answers = random.Random(args.seed), collections.Counter()
    for number in range(args.inputs):
        data = damaged(seeds, rng)
        spent = daemon.cpu_s()
        status, content = client.post(*wrapped(data, number))
        spent = daemon.cpu_s() - spent
        answers[status] += 1
        costs.append(spent)
        if status not in ALLOWED or spent > MOST_CPU_S:
            folder = pathlib.Path("build/torture")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"input{number}").write_bytes(data)
            faults.append(f"input {number}: status {status}, {spent:.2f} s of CPU, {content[:200]}")
        if not daemon.alive():
            raise SystemExit(f"input {number} ended the daemon:\n{daemon.tail()}")
    return answers


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--inputs", type=int, default=20000)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inline", action="store_true", help="decode in the daemon, without the sandbox")
    args = parser.parse_args()
    pictures = [p.read_bytes() for folder in ("tests/golden/preprocess", "tests/data")
                for p in sorted((serving.ROOT / folder).iterdir())
                if p.suffix not in (".json", ".safetensors", ".md") and p.stat().st_size < 100000]
    seeds = pictures + list(STUBS.values())
    # One decoder, so that each pass asks of it what the first did.
    daemon = serving.Daemon(args.senetd, "--decoders", "1", "--workers", "1",
                            *(["--decoder", "inline"] if args.inline else []))
    client = Client(daemon.port)
    before = undamaged(client, pictures)
    descriptors, memory = daemon.descriptors(), [daemon.memory_mb()]
    costs, faults, begin = [], [], time.monotonic()
    passes = []
    for _ in range(args.passes):
        passes.append(send_all(daemon, client, seeds, args, costs, faults))
        memory.append(daemon.memory_mb())
    seconds = time.monotonic() - begin
    after = undamaged(client, pictures)
    left = daemon.descriptors()
    costs.sort()
    print(f"{args.inputs} damaged inputs of {len(seeds)} pictures, seed {args.seed}, {args.passes} times, in "
          f"{seconds:.0f} s")
    print("answers:", ", ".join(f"{count} x {status}" for status, count in sorted(passes[0].items())))
    print(f"CPU time of an input: median {1000 * costs[len(costs) // 2]:.2f} ms, 99.9 % under "
          f"{1000 * costs[len(costs) * 999 // 1000]:.1f} ms, most {1000 * costs[-1]:.1f} ms")
    print(f"memory: {memory[0]:.1f} MB before, after each pass {', '.join(f'{mb:.1f}' for mb in memory[1:])}; "
          f"descriptors: {descriptors} before, {left} after")
    if any(answers != passes[0] for answers in passes):
        faults.append(f"a later pass was answered in another way: {', '.join(map(str, map(dict, passes)))}")
    if after != before:
        faults.append("the undamaged pictures are answered in another way than before")
    if memory[-1] > memory[-2] + MOST_GROWTH_MB:
        faults.append("memory has grown in the last pass")
    if left > descriptors:
        faults.append("descriptors are left open")
    if daemon.stop() != 0:
        faults.append("the daemon did not stop with status 0")
    print("\n".join(faults) if faults else "torture: survived")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
