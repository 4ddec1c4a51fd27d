"""k8s.py - builds every Kustomize folder of deploy/k8s and validates what comes out, offline.

Kubernetes' own objects: strictly against its published JSON schemas (kubernetes-validate). KEDA and
the Prometheus operator: k8s_crd.mjs. KServe: against the field tables of its Python SDK, read from
its sources, so that none of its dependencies is needed. Then what no schema knows: that drain and
grace period, ports, labels and probes fit together. No cluster runs here: scheduling, roll-outs and
readiness gating are not tested.

Usage: k8s.py KUBECTL NODE_FOLDER KSERVE_SOURCES (see the make target check-k8s)
"""

import ast
import json
import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
VERSION = "1.30"
DRAIN_TIMEOUT = 25  # the daemon's default
FOLDERS = ["base", "overlays/hpa", "overlays/keda", "overlays/monitoring", "overlays/kserve"]


class KServe:
    """openapi_types and attribute_map of the SDK's model classes."""

    def __init__(self, sources):
        self.models = {}
        for path in pathlib.Path(sources).glob("kserve/models/*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    tables = {t.targets[0].id: ast.literal_eval(t.value) for t in node.body
                              if isinstance(t, ast.Assign) and isinstance(t.value, ast.Dict)}
                    self.models[node.name] = tables
        assert "V1beta1InferenceService" in self.models

    def check(self, value, type_name, where):
        if match := re.fullmatch(r"list\[(.*)\]", type_name):
            assert isinstance(value, list), f"{where}: expected a list"
            for i, item in enumerate(value):
                self.check(item, match[1], f"{where}[{i}]")
        elif type_name in self.models:
            tables = self.models[type_name]
            types = {json_name: tables["openapi_types"][field]
                     for field, json_name in tables["attribute_map"].items()}
            for key, item in value.items():
                assert key in types, f"{where}: unknown field {key}"
                self.check(item, types[key], f"{where}.{key}")
        elif type_name in ("str", "int", "bool"):
            assert type(value).__name__ == type_name, f"{where}: {value!r} is not {type_name}"


def fit_together(objects):
    by_kind = {o["kind"]: o for o in objects}
    deployment = by_kind["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    container = pod["containers"][0]
    env = {e["name"]: e["value"] for e in container["env"]}
    drain = int(env["SENETD_DRAIN_DELAY"]) + int(env["SENETD_DRAIN_TIMEOUT"])
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > wait + drain
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= int(env["SENETD_DRAIN_DELAY"])
    assert readiness["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert by_kind["Service"]["spec"]["ports"][0]["targetPort"] in ports
    allowed = by_kind["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"]
    assert allowed in ports.values()
    labels = deployment["template"]["metadata"]["labels"].items()
    for selector in (deployment["selector"]["matchLabels"],
                     by_kind["Service"]["spec"]["selector"],
                     by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels, selector
    restricted = container["securityContext"]
    assert restricted["allowPrivilegeEscalation"] is False
    assert restricted["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
    scaled = "HorizontalPodAutoscaler" in by_kind or "ScaledObject" in by_kind
    assert ("replicas" in deployment) != scaled, "replicas belong to the autoscaler"


def kserve_fits_together(objects):
    by_kind = {o["kind"]: o["spec"] for o in objects if "spec" in o}
    predictor, runtime = by_kind["InferenceService"]["predictor"], by_kind["ServingRuntime"]
    words = runtime["containers"][0]["args"]
    args = dict(zip(words[::2], words[1::2]))
    drain = int(args["--drain-delay"]) + DRAIN_TIMEOUT
    assert predictor["terminationGracePeriodSeconds"] > drain
    assert predictor["model"]["runtime"] == "senetd"
    served = {f["name"] for f in runtime["supportedModelFormats"]}
    assert predictor["model"]["modelFormat"]["name"] in served


def main():
    kubectl, node_folder, kserve_sources = sys.argv[1:]
    kserve = KServe(kserve_sources)
    for folder in FOLDERS:
        text = subprocess.run([kubectl, "kustomize", str(TOP / "deploy/k8s" / folder)], check=True,
                              capture_output=True, text=True).stdout
        objects = list(yaml.safe_load_all(text))
        core = custom = 0
        for o in objects:
            group = o["apiVersion"].split("/")[0]
            if "kserve" in group:
                name = o["apiVersion"].split("/")[1].capitalize() + o["kind"]
                kserve.check(o, name, o["kind"])
                if o["kind"] == "ServingRuntime":  # its containers are Kubernetes' own
                    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
                           "spec": {"containers": o["spec"]["containers"]}}
                    kubernetes_validate.validate(pod, VERSION, strict=True)
                custom += 1
            elif group not in ("keda.sh", "monitoring.coreos.com"):
                kubernetes_validate.validate(o, VERSION, strict=True)
                core += 1
        crds = subprocess.run(["node", str(TOP / "tests/deploy/k8s_crd.mjs")], check=True,
                              input=json.dumps(objects), capture_output=True, text=True,
                              cwd=node_folder).stdout
        custom += int(crds)
        assert core + custom == len(objects), f"{folder}: {len(objects) - core - custom} not checked"
        (kserve_fits_together if folder == "overlays/kserve" else fit_together)(objects)
        print(f"k8s: {folder}: {core} objects and {custom} custom resources are valid")


if __name__ == "__main__":
    main()
