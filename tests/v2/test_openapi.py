#!/usr/bin/env python3
"""The running daemon against its own description: schemathesis, and that no route is left out.

    make test-openapi        # a virtual environment with schemathesis

schemathesis makes requests from /openapi.json, good ones and bad ones, and holds status, media
type and schema of each answer against it; no answer may be a server error. Bounded in time.
"""
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from serving import ROOT, Daemon

CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_headers_conformance,response_schema_conformance")


def get(address, path):
    request = urllib.request.Request(f"http://{address}{path}",
                                     headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def check_routes(address):
    """What GET / lists and what the document describes are the same."""
    document = get(address, "/openapi.json")["paths"]
    described = {(path, method.upper()) for path, item in document.items() for method in item}
    served = {(row["path"].replace("{m}", "{model}"), method)
              for row in get(address, "/")["routes"] for method in row["methods"]
              if method not in ("HEAD", "OPTIONS")} - {("/v2/", "GET")}
    assert described == served, f"not described {served - described}, not there " \
                                f"{described - served}"


def main():
    senetd = sys.argv[1] if len(sys.argv) > 1 else "build/senetd"
    seconds = sys.argv[2] if len(sys.argv) > 2 else "40"
    with Daemon(senetd, "--weights", "weights/demo", "--max-body", "1m") as daemon:
        check_routes(daemon.address)
        print("ok: every route is described")
        schemathesis = Path(sys.executable).with_name("schemathesis")
        status = subprocess.run(
            [schemathesis, "run", f"http://{daemon.address}/openapi.json", "--checks", CHECKS,
             "--phases", "examples,coverage,fuzzing", "--max-time", seconds, "--seed", "1",
             # A timeout that has passed is 504 by right: no case may ask for one.
             "--header", "X-Request-Timeout-Ms: 60000", "--request-timeout", "60", "--suppress-health-check", "all", "--no-shrink"],
            check=False, cwd=ROOT / "build").returncode  # it leaves files where it runs
    if status != 0:
        raise SystemExit(f"schemathesis: exit status {status}")


if __name__ == "__main__":
    main()
