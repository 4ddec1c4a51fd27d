#!/usr/bin/env python3
"""A stand-in for the model hub, for test_fetch.sh: python3 hub.py ROOT PORT_FILE LOG

Serves ROOT on a free port of the loopback interface, which it writes to PORT_FILE. Like the hub
it answers ".../resolve/main/FILE" by a redirection, and honours Range there. What is to go wrong
is told by empty files beside FILE:
    FILE.cut       the next answer breaks off half way (and the mark is removed)
    FILE.norange   Range is ignored
    FILE.busy      the next answer is 503 (and the mark is removed)
Each answer is a line in LOG: method, path, Range or "-", status.
"""
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT, PORT_FILE, LOG = map(Path, sys.argv[1:])


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, headers, body=b""):
        with LOG.open("a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {status}\n")
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/timm/"):
            stored = self.stored(self.path)
            if not stored.is_file():
                return self.answer(404, {"Content-Type": "text/plain"}, b"Entry not found")
            headers = {"Location": "/cdn" + self.path, "X-Linked-Size": stored.stat().st_size}
            return self.answer(302, headers, b"Found. Redirecting")
        return self.send_stored(self.stored(self.path.removeprefix("/cdn")))

    do_HEAD = do_GET

    def stored(self, path):
        return ROOT / re.sub(r"[^\w./-]|\.\.", "", path).lstrip("/")

    def send_stored(self, stored):
        content = stored.read_bytes()
        kinds = ("cut", "norange", "busy")
        marks = {kind: stored.with_name(f"{stored.name}.{kind}") for kind in kinds}
        if marks["busy"].exists():
            marks["busy"].unlink()
            return self.answer(503, {}, b"busy")
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin, status, headers = 0, 200, {}
        if asked and not marks["norange"].exists():
            begin, status = int(asked[1]), 206
            if begin >= len(content):
                return self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        body = content[begin:]
        headers["Content-Length"] = len(body)
        if marks["cut"].exists() and self.command == "GET":
            marks["cut"].unlink()
            body = body[: len(body) // 2]
            self.close_connection = True
        return self.answer(status, headers, body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
server.handle_error = lambda *_: None  # a client that goes away is no news
PORT_FILE.write_text(f"{server.server_port}\n")
server.serve_forever()
