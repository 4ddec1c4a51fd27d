#!/usr/bin/env python3
"""senetd beside Python services of the same network: FastAPI with ONNX Runtime, and LitServe.

    make bench-server-peers             # sets up a venv in build/peers and runs this, 4 minutes

The services (tests/bench/peers/) are written as their documentation advises, and run both with all
cores in one process and with a process for each core. They take turns, each round with a fresh
start. All must agree on the photo. The answer is the five best classes; for senetd, therefore,
without excitations.
"""
import argparse
import base64
import json
import os
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from load import Service, Upload, closed_loop, free_port
from peers import cpu_name, load_model

HERE = Path(__file__).resolve().parent


def export(weights, path):
    """The model as ONNX, the batch left open. Returns the shape of one input."""
    model, config = load_model(weights)
    shape = tuple(config["input_size"])
    warnings.simplefilter("ignore", DeprecationWarning)  # the exporter's own, about the newer one
    torch.onnx.export(model, torch.zeros(1, *shape), str(path), input_names=["input"],
                      output_names=["logits"], dynamo=False,
                      dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}})


def make_uploads(photo, folder):
    boundary = b"------------------------bench"

    def form(name):
        body = (b"--" + boundary + b'\r\nContent-Disposition: form-data; name="' + name +
                b'"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' + photo + b"\r\n--" +
                boundary + b"--\r\n")
        return Upload(folder, name.decode(), body, f"multipart/form-data; boundary={boundary.decode()}")

    encoded = json.dumps({"image_data": base64.b64encode(photo).decode()}).encode()
    return form(b"image"), form(b"file"), Upload(folder, "json", encoded, "application/json")


def make_services(args, folder, cpus):
    """[(name, a function that starts it)]"""
    image, file, encoded = make_uploads(args.photo.read_bytes(), folder)
    environment = dict(os.environ, MODEL=str(Path(folder) / "model.onnx"),
                       CONFIG=str(args.weights / "config.json"), PYTHONPATH=str(HERE / "peers"))

    def senetd():
        port = free_port()
        return Service("senetd", [
            args.senetd, "--weights", str(args.weights), "--listen", f"127.0.0.1:{port}",
            "--admin-listen", "off", "--log-level", "warn"], port, "/classify?excitations=none",
            image)

    def fastapi(workers, threads):
        port = free_port()
        return Service("fastapi", [
            sys.executable, "-m", "uvicorn", "fastapi_service:app", "--port", str(port),
            "--workers", str(workers), "--log-level", "warning"], port, "/classify", file,
            dict(environment, THREADS=str(threads)))

    def litserve(workers, threads):
        port = free_port()
        return Service("litserve", [
            sys.executable, str(HERE / "peers/litserve_service.py"), str(port), str(workers)], port,
            "/predict", encoded, dict(environment, THREADS=str(threads)))

    found = [("senetd", senetd)]
    for name, make in (("FastAPI, ONNX Runtime", fastapi), ("LitServe, ONNX Runtime", litserve)):
        found.append((f"{name}, 1 process", lambda make=make: make(1, cpus)))
        if cpus > 1:
            found.append((f"{name}, {cpus} processes", lambda make=make: make(cpus, 1)))
    return found


def check_agreement(name, answer, expected):
    """Whether it names the same classes with the same probabilities as the first service did."""
    top = answer["results"][0]["top_k"] if "results" in answer else answer["top_k"]
    found = [(row["index"], round(row["probability"], 3)) for row in top]
    if expected and (found[0][0] != expected[0][0] or
                     abs(found[0][1] - expected[0][1]) > 2e-3):
        raise SystemExit(f"{name} disagrees: {found}, expected {expected}")
    return expected or found


def measure(make, args):
    service = make()
    row = {"up": service.up, "answer": service.answer}
    closed_loop(service, args.clients, 1)  # warm
    for clients in (1, args.clients):
        row[clients] = closed_loop(service, clients, args.seconds)
    row["bytes"] = service.resident_bytes()
    service.stop(patience=5)
    return row


def show(name, rows, args):
    def median(get):
        return statistics.median(get(row) for row in rows)

    cells = [name]
    for clients in (1, args.clients):
        cells.append(f"{median(lambda row: row[clients]['answers'] / row[clients]['seconds']):.1f}")
        cells.append(f"{median(lambda row: row[clients]['p50_ms']):.0f}, "
                     f"{median(lambda row: row[clients]['p99_ms']):.0f}")
    cells += [f"{median(lambda row: row['up']):.1f}", f"{median(lambda row: row['bytes']) / 2**20:.0f}",
              str(sum(row[clients]["failures"] for row in rows for clients in (1, args.clients)))]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--senetd", default="build/senetd")
    parser.add_argument("--weights", type=Path, default=Path("weights/demo"))
    parser.add_argument("--photo", type=Path, default=Path("tests/data/cat.jpg"))
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    cpus, expected = len(os.sched_getaffinity(0)), None
    with tempfile.TemporaryDirectory() as folder:
        export(args.weights, Path(folder) / "model.onnx")
        services = make_services(args, folder, cpus)
        rows = {name: [] for name, _ in services}
        for _ in range(args.rounds):
            for name, make in services:
                rows[name].append(measure(make, args))
                expected = check_agreement(name, rows[name][-1]["answer"], expected)
    print(f"{cpu_name()}, {cpus} CPUs, {args.rounds} rounds of {args.seconds} s each, closed loop\n\n"
          f"| service | images/s, 1 client | p50, p99 (ms) | images/s, {args.clients} clients | "
          "p50, p99 (ms) | start-up to the first answer (s) | resident (MiB) | failures |\n"
          "|---|---|---|---|---|---|---|---|")
    for name, _ in services:
        show(name, rows[name], args)


if __name__ == "__main__":
    main()
