#!/usr/bin/env python3
"""The Open Inference Protocol by the clients that people use: tritonclient and KServe's.

    make test-v2        # a virtual environment with tritonclient[http], kserve, pillow

Every value is held against what /classify answers for the same photo. Triton's image_client is
followed step by step: metadata, configuration, preprocessing on the client's side, class strings.
"""
import asyncio
import json
import sys
import urllib.request

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from PIL import Image
from tritonclient.utils import InferenceServerException

from serving import ROOT, Daemon

PHOTOS = [ROOT / "tests/data" / name for name in ("cat.jpg", "coffee.jpg", "rocket.jpg")]


def near(found, expected):
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-4)


class Native:
    """What the daemon's own interface tells of the photos."""

    def __init__(self, address):
        with urllib.request.urlopen(f"http://{address}/model") as answer:
            self.model = json.load(answer)
        self.logits, self.gates, self.top = [], [], []
        for photo in PHOTOS:
            url = f"http://{address}/classify?topk={self.model['classes']}"
            with urllib.request.urlopen(url, data=photo.read_bytes()) as answer:
                result = json.load(answer)["results"][0]
            rows = sorted(result["top_k"], key=lambda row: row["index"])
            self.top.append(result["top_k"])
            self.logits.append([row["logit"] for row in rows])
            self.gates.append({block["name"]: block["values"] for block in result["excitations"]})


def encoded():
    photos = np.array([photo.read_bytes() for photo in PHOTOS], dtype=object)
    tensor = triton.InferInput("input", [len(PHOTOS)], "BYTES")
    tensor.set_data_from_numpy(photos)
    return tensor


def prepared(model):
    """The photos as the model's configuration asks for them, by Pillow."""
    config, images = model["preprocess"], []
    side = round(config["height"] / config["crop_pct"])
    filters = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "lanczos": Image.LANCZOS}
    for photo in PHOTOS:
        image = Image.open(photo).convert("RGB")
        scale = side / min(image.size)
        image = image.resize([max(side, int(scale * s)) for s in image.size],
                             filters[config["interpolation"]])
        left = round((image.width - config["width"]) / 2)
        top = round((image.height - config["height"]) / 2)
        image = image.crop((left, top, left + config["width"], top + config["height"]))
        pixels = np.asarray(image, dtype=np.float32) / 255
        pixels = (pixels - np.float32(config["mean"])) / np.float32(config["std"])
        images.append(pixels.transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(images), dtype=np.float32)


def check_server(client, model):
    name = model["name"]
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(name)
    assert client.is_model_ready(name, "1") and not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "senetd"
    index = client.get_model_repository_index()
    assert [row["name"] for row in index] == [name, name + "_se"], index
    for change in (client.load_model, client.unload_model):
        try:
            change(name)
        except InferenceServerException as error:
            assert error.status() == "403" and error.message(), error
        else:
            raise AssertionError("the public address changed the model")
    try:
        client.get_model_metadata("none")
    except InferenceServerException as error:
        assert error.status() == "404" and "unknown model" in error.message(), error
    else:
        raise AssertionError("a model that is not there was described")


def check_encoded(client, native):
    name = native.model["name"]
    answer = client.infer(name, [encoded()], request_id="a7")  # asks for binary output
    assert answer.get_response()["id"] == "a7"
    assert answer.get_response()["parameters"]["sha256"] == native.model["sha256"]
    near(answer.as_numpy("logits"), native.logits)
    for binary in (False, True):
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
        found = client.infer(name, [encoded()], outputs=wanted).as_numpy("probabilities")
        near(found.sum(axis=1), [1] * len(PHOTOS))
        near(found[0][native.top[0][0]["index"]], native.top[0][0]["probability"])
    for algorithm in ("gzip", "deflate"):
        answer = client.infer(name, [encoded()], request_compression_algorithm=algorithm)
        near(answer.as_numpy("logits"), native.logits)
    running = client.async_infer(name, [encoded()])
    near(running.get_result().as_numpy("logits"), native.logits)


def check_excitations(client, native):
    name = native.model["name"] + "_se"
    answer = client.infer(name, [encoded()])
    outputs = client.get_model_metadata(name)["outputs"]
    assert [row["name"] for row in outputs] == list(native.gates[0])
    for block in native.gates[0]:
        near(answer.as_numpy(block), [gates[block] for gates in native.gates])


def check_image_client(client, native):
    """Triton's image_client: everything it asks a model for, then FP32 input and class strings."""
    name, classes = native.model["name"], 3
    metadata, config = client.get_model_metadata(name), client.get_model_config(name)
    assert len(metadata["inputs"]) == len(config["input"]) == len(metadata["outputs"]) == 1
    tensor, output = metadata["inputs"][0], metadata["outputs"][0]
    assert output["datatype"] == tensor["datatype"] == "FP32"
    assert config["max_batch_size"] >= len(PHOTOS)
    assert config["input"][0]["format"] == "FORMAT_NCHW"
    assert tensor["shape"][1:] == config["input"][0]["dims"] and len(output["shape"]) == 2
    photos = prepared(native.model)
    assert list(photos.shape[1:]) == tensor["shape"][1:]
    for binary in (True, False):
        given = triton.InferInput(tensor["name"], list(photos.shape), tensor["datatype"])
        given.set_data_from_numpy(photos, binary_data=binary)
        wanted = triton.InferRequestedOutput(output["name"], class_count=classes)
        found = client.infer(name, [given], outputs=[wanted]).as_numpy(output["name"])
        assert found.shape == (len(PHOTOS), classes)
        for rows, top in zip(found, native.top):
            value, index, label = rows[0].decode().split(":")
            assert int(index) == top[0]["index"] and label == top[0]["label"], (rows, top[0])
            # Pillow's decoder and scaler, not the daemon's: the same picture, nearly.
            assert abs(float(value) - top[0]["logit"]) < 0.25, (rows, top[0])


def check_statistics(client, model):
    before = client.get_inference_statistics(model["name"])["model_stats"][0]
    client.infer(model["name"], [encoded()])
    after = client.get_inference_statistics(model["name"])["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + len(PHOTOS)
    times = [stats["inference_stats"]["success"] for stats in (before, after)]
    assert times[1]["count"] == times[0]["count"] + 1 and times[1]["ns"] > times[0]["ns"]


def check_repository(client, admin_address, name):
    admin = triton.InferenceServerClient(admin_address, network_timeout=120.0)
    admin.unload_model(name)
    assert not client.is_model_ready(name) and not client.is_server_ready()
    assert client.is_server_live()
    assert {row["state"] for row in client.get_model_repository_index()} == {"UNAVAILABLE"}
    for wrong in (lambda: client.infer(name, [encoded()]),
                  lambda: admin.load_model(name, config="{}"), lambda: admin.load_model("none")):
        try:
            wrong()
        except InferenceServerException as error:
            assert error.status() in ("400", "404", "503") and error.message(), error
        else:
            raise AssertionError("answered without a model, or loaded what is not there")
    admin.load_model(name)
    assert client.is_model_ready(name) and client.is_server_ready()
    assert client.infer(name, [encoded()]).as_numpy("logits").shape[0] == len(PHOTOS)
    admin.close()


async def check_kserve(address, native):
    base, name = f"http://{address}", native.model["name"]
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    assert await client.is_server_live(base) and await client.is_server_ready(base)
    assert await client.is_model_ready(base, name)
    photos = prepared(native.model)
    expected = None
    for binary in (False, True):
        tensor = InferInput("input", list(photos.shape), "FP32")
        tensor.set_data_from_numpy(photos, binary_data=binary)
        request = InferRequest(name, [tensor])
        answer = await client.infer(base, request, model_name=name)
        found = answer.outputs[0].as_numpy()
        assert found.shape == (len(PHOTOS), native.model["classes"])
        expected = found if expected is None else expected
        near(found, expected)
        assert [int(i) for i in found.argmax(axis=1)] == [t[0]["index"] for t in native.top]
    try:
        await client.infer(base, {"inputs": []}, model_name=name)
    except Exception as error:  # httpx's, with the daemon's text in it
        assert "inputs" in str(error) and "400" in str(error), error
    else:
        raise AssertionError("an empty request was answered")
    await client.close()


def main():
    senetd = sys.argv[1] if len(sys.argv) > 1 else "build/senetd"
    with Daemon(senetd, "--weights", "weights/demo") as daemon:
        native = Native(daemon.address)
        client = triton.InferenceServerClient(daemon.address, network_timeout=120.0)
        for name, check in (
            ("server", lambda: check_server(client, native.model)),
            ("encoded photos", lambda: check_encoded(client, native)),
            ("excitations", lambda: check_excitations(client, native)),
            ("image_client's flow", lambda: check_image_client(client, native)),
            ("statistics", lambda: check_statistics(client, native.model)),
            ("load and unload",
             lambda: check_repository(client, daemon.admin, native.model["name"])),
            ("kserve", lambda: asyncio.run(check_kserve(daemon.address, native))),
        ):
            check()
            print(f"ok: {name}")
        client.close()


if __name__ == "__main__":
    main()
