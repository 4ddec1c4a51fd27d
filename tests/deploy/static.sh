#!/bin/bash
# static.sh [SENETD] - checks of what deploy/ says without running it: each file by the program that
# will read it, and the metrics in rules and dashboard against those that the daemon really has.
set -euo pipefail
cd "$(dirname "$0")/../.."
senetd=${1:-build/senetd}
work=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null || true; rm -rf "$work"' EXIT
daemon=
say() { echo "static: $1"; }

say "HAProxy"
for config in deploy/haproxy/*.cfg; do
    haproxy -c -q -f "$config"
done

say "maxconn is four a worker"
python3 - <<'PYTHON'
import re
compose, balancer = (open(f"deploy/{f}").read() for f in ("docker-compose.yml", "haproxy/haproxy.cfg"))
workers = int(re.search(r"REPLICA_CPUS:-(\d+)", compose)[1])
for text in (re.search(r"REPLICA_MAXCONN:-(\d+)", compose), re.search(r"REPLICA_MAXCONN-(\d+)", balancer)):
    assert int(text[1]) == 4 * workers, (text[0], workers)
PYTHON

say "Prometheus: configuration, rules, their tests"
promtool check config --syntax-only deploy/monitoring/prometheus.yml
promtool check rules deploy/monitoring/rules.yml
promtool test rules deploy/monitoring/rules_test.yml

say "the runbook knows every alert"
grep -oE 'alert: \w+' deploy/monitoring/rules.yml | while read -r _ alert; do
    grep -q "\*\*.*$alert.*\*\*" deploy/README.md || { echo "$alert is not in deploy/README.md"; exit 1; }
done

say "Compose"
(cd deploy && docker-compose config -q && docker-compose --profile fleet config -q)
services=$(cd deploy && docker-compose --profile fleet config --services | sort | tr '\n' ' ')
[ "$services" = "grafana haproxy prometheus replica senetd " ] || { echo "services: $services"; exit 1; }

say "JSON"
for file in deploy/seccomp.json deploy/monitoring/dashboard.json; do
    python3 -m json.tool "$file" >/dev/null
done

say "the container may make the calls that decoders need to lock themselves in"
python3 - <<'PYTHON'
import json
rules = json.load(open("deploy/seccomp.json"))["syscalls"]
allowed = {n for r in rules if r["action"] == "SCMP_ACT_ALLOW" for n in r["names"]}
needed = """seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_create fork
clone wait4 prctl setrlimit prlimit64 getrusage close_range socketpair signalfd4 kill""".split()
assert allowed >= set(needed), sorted(set(needed) - allowed)
PYTHON

say "every expression of the dashboard parses"
python3 - "$work/dashboard_rules.yml" <<'PYTHON'
import json, sys
panels = json.load(open("deploy/monitoring/dashboard.json"))["panels"]
exprs = [t["expr"].replace("$__rate_interval", "5m") for p in panels for t in p["targets"]]
assert len(exprs) >= 20, exprs
rules = [{"record": f"dashboard:{i}", "expr": e} for i, e in enumerate(exprs)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, open(sys.argv[1], "w"))
PYTHON
promtool check rules "$work/dashboard_rules.yml" >/dev/null

say "the metrics that they name are the daemon's"
"$senetd" --weights weights/demo --listen 127.0.0.1:0 --port-file "$work/port" 2>"$work/log" &
daemon=$!
ready() { "$senetd" health --listen 127.0.0.1:0 --port-file "$work/port" >/dev/null 2>&1; }
for _ in $(seq 300); do
    if ready; then break; fi
    sleep 0.2
done
url=http://127.0.0.1:$(cat "$work/port")
curl -fsS -F image=@tests/data/cat.jpg "$url/classify" >/dev/null
curl -fsS "$url/metrics" | tee "$work/metrics" | promtool check metrics
python3 - "$work/metrics" <<'PYTHON'
import re, sys
served = set(re.findall(r"^([a-z_]+)", open(sys.argv[1]).read(), re.M))
named = set()
for path in ("deploy/monitoring/rules.yml", "deploy/monitoring/dashboard.json"):
    named |= set(re.findall(r"\b((?:senetd|process)_[a-z_]+)", open(path).read()))
missing = sorted(named - served)
assert len(named) > 15, named
# Exported once a model has reference statistics; until then the panel is empty.
assert set(missing) <= {"senetd_se_drift"}, missing
print("checked", len(named), "names;", "absent:", missing)
PYTHON
say "passed"
