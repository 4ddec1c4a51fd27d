#!/usr/bin/env python3
"""One table of attacks against several HTTP servers, as Markdown.

fronts.py NAME=HOST:PORT/PATH ...     PATH takes POST; GET of it may answer anything

Every request carries a second one behind it on the same connection. "refused" is a status from 400 on, or no answer,
and the end of the connection; "closed": an answer, and the end; "both served": two answers. Of the slow clients
the seconds are told until the server ended the connection, ">N" where it had not within --patience.
"""
import argparse
import concurrent.futures
import re
import select
import socket
import time

HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\n"
GET = "GET {path} HTTP/1.1\r\nHost: x\r\n"
ATTACKS = (
    ("a clear request", HEAD + "Content-Length: 3\r\n\r\nabc"),
    ("Content-Length and Transfer-Encoding", HEAD + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths that differ", HEAD + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    ("the same length twice", HEAD + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    ("`Content-Length : 3`", HEAD + "Content-Length : 3\r\n\r\nabc"),
    ("`Content-Length: +3`", HEAD + "Content-Length: +3\r\n\r\nabc"),
    ("`Content-Length: 3, 3`", HEAD + "Content-Length: 3, 3\r\n\r\nabc"),
    ("`Transfer-Encoding: xchunked`", HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("`Transfer-Encoding: gzip, chunked`", HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("`Transfer-Encoding: identity`", HEAD + "Transfer-Encoding: identity\r\n\r\n"),
    ("chunked in HTTP/1.0", "POST {path} HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("bare LF in a chunk's line", HEAD + "Transfer-Encoding: chunked\r\n\r\n3;a=b\nabc\r\n0\r\n\r\n"),
    ("chunk size `0x3`", HEAD + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    ("a line that ends in a bare LF", HEAD + "X: a\nContent-Length: 3\r\n\r\nabc"),
    ("a bare CR in a value", HEAD + "X: a\rY: b\r\nContent-Length: 3\r\n\r\nabc"),
    ("a folded line", HEAD + "X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc"),
    ("a line without a colon", HEAD + "Nothing\r\nContent-Length: 3\r\n\r\nabc"),
    ("a zero byte in a value", HEAD + "X: a\0b\r\nContent-Length: 3\r\n\r\nabc"),
    ("a zero byte in the place of CR", HEAD + "X: a\0\nContent-Length: 3\r\n\r\nabc"),
    ("a control byte in the path", "GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("`%00` in the path", "GET {path}%00 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("no Host", "GET {path} HTTP/1.1\r\n\r\n"),
    ("two Hosts", GET + "Host: y\r\n\r\n"),
    ("HTTP/1.9", "GET {path} HTTP/1.9\r\nHost: x\r\n\r\n"),
    ("`Expect: foo`", HEAD + "Expect: foo\r\nContent-Length: 3\r\n\r\nabc"),
    ("a header of 1 MB", GET + "X: " + "a" * (1 << 20) + "\r\n\r\n"),
    ("10,000 headers", GET + "X: a\r\n" * 10000 + "\r\n"),
)
SLOW = (
    ("a header, a byte a second", GET + "X: ", b"a"),
    ("a body, a byte a second", HEAD + "Content-Length: 100000\r\n\r\n", b"a"),
    ("a body that stops", HEAD + "Content-Length: 100000\r\n\r\nabc", b""),
    ("nothing at all", "", b""),
)
ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def read_until_silent(client, seconds):
    """All that comes, and whether the connection has ended."""
    text = b""
    while select.select([client], [], [], seconds)[0]:
        try:
            piece = client.recv(65536)
        except OSError:
            return text, True
        if not piece:
            return text, True
        text += piece
    return text, False


def statuses(text):
    """Of the answers that a client would see, one behind the other's content."""
    found = []
    while (head := ANSWER.match(text)) and b"\r\n\r\n" in text:
        end = text.index(b"\r\n\r\n") + 4
        length = LENGTH.search(text[:end])
        if length:
            end += int(length[1])
        elif b"chunked" in text[:end] and b"0\r\n\r\n" in text[end:]:
            end = text.index(b"0\r\n\r\n", end) + 5
        if head[1] != b"100":
            found.append(int(head[1]))
        text = text[end:]
    return found


def attack(target, text):
    host, port, path = target
    with socket.create_connection((host, port)) as client:
        behind = "GET {path} HTTP/1.1\r\nHost: behind\r\n\r\n"
        try:
            client.sendall((text + behind).replace("{path}", path).encode("latin-1"))
        except OSError:
            pass
        answer, closed = read_until_silent(client, 2)
    found = statuses(answer)
    if len(found) > 1:
        return "both served: " + ", ".join(map(str, found))
    if not found:
        return "refused (no answer)" if closed else "no answer, open"
    if found[0] >= 400 and closed:
        return f"refused ({found[0]})"
    return f"{found[0]}, {'closed' if closed else 'open'}"


def trickle(target, text, byte, patience):
    host, port, path = target
    begin = time.monotonic()
    with socket.create_connection((host, port)) as client:
        client.sendall(text.replace("{path}", path).encode())
        while time.monotonic() - begin < patience:
            try:
                client.sendall(byte)
            except OSError:
                return f"{time.monotonic() - begin:.0f} s"
            if read_until_silent(client, 1)[1]:
                return f"{time.monotonic() - begin:.0f} s"
    return f">{patience} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="+", metavar="NAME=HOST:PORT/PATH")
    parser.add_argument("--patience", type=int, default=90)
    args = parser.parse_args()
    targets = {}
    for text in args.targets:
        name, host, port, path = re.fullmatch(r"([^=]+)=([^:/]+):(\d+)(/.*)", text).groups()
        targets[name] = (host, int(port), path)
    print("| attack |", " | ".join(targets), "|")
    print("|---|" + "---|" * len(targets))
    for what, text in ATTACKS:
        print(f"| {what} |", " | ".join(attack(target, text) for target in targets.values()), "|", flush=True)
    with concurrent.futures.ThreadPoolExecutor(len(SLOW) * len(targets)) as pool:
        told = [[pool.submit(trickle, target, text, byte, args.patience) for target in targets.values()]
                for _, text, byte in SLOW]
        for (what, _, _), row in zip(SLOW, told):
            print(f"| {what}: ended after |", " | ".join(cell.result() for cell in row), "|")


if __name__ == "__main__":
    main()
