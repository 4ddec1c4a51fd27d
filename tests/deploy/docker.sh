#!/bin/bash
# docker.sh - builds the images with the Docker engine, runs them with every restriction of
# deploy/docker-compose.yml, and brings up the compose file with its fleet. Root on Debian 12.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/deploy/engine.sh
. tests/deploy/engine.sh
# shellcheck source=tests/deploy/package.sh
. tests/deploy/package.sh
say() { echo "docker: $*"; }
die() { echo "docker: FAILED: $*" >&2; exit 1; }
export SENETD_BASE=debian:bookworm-slim SENETD_PORT FLEET_PORT PROMETHEUS_PORT
read -r RUN_PORT SENETD_PORT FLEET_PORT PROMETHEUS_PORT < <(python3 -c '
import socket
held = [socket.create_server(("", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in held))')

megabytes() { docker save "$1" | gzip -6 | wc -c | awk '{printf "%.1f", $1 / 1e6}'; }
within() { # within IMAGE LIMIT: its compressed size in MB
    local size
    size=$(megabytes "$1")
    say "$1: $size MB compressed, limit $2"
    awk -v size="$size" -v limit="$2" 'BEGIN {exit !(size <= limit)}' || die "$1 is too large"
}
wait_until() { # wait_until SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.02
    done
}
is_cat() { curl -fsS -F image=@tests/data/cat.jpg "$1/classify?excitations=none" | grep -q '"label": *"cat"'; }

engine_base
engine_start
say "build"
docker build -q --target runtime -t senetd:runtime . >/dev/null
docker build -q -t senetd . >/dev/null
say "the base: $(megabytes debian:bookworm-slim) MB compressed"
within senetd:runtime 45
within senetd:latest 100

say "run with a read-only root, no capabilities, a memory limit, as nobody in particular"
url=http://127.0.0.1:$RUN_PORT
starts=()
for attempt in 1 2 3 4 5; do # what else runs on the machine strikes some of them
    [ "$attempt" = 1 ] || docker rm -f "$id" >/dev/null
    begin=$(date +%s%N)
    id=$(docker run -d --read-only --cap-drop ALL --security-opt no-new-privileges \
        --security-opt seccomp=deploy/seccomp.json --memory 1g --cpus 2 --pids-limit 256 \
        -p "127.0.0.1:$RUN_PORT:8080" senetd)
    wait_until 120 curl -fsS "$url/readyz" || { docker logs "$id"; die "not ready"; }
    starts+=("$((($(date +%s%N) - begin) / 1000000))")
done
loading=$(docker logs "$id" 2>&1 | grep -oE "loaded in [0-9]+ ms")
say "ready after ${starts[*]} ms, the container's start included (wanted: 1000 on an idle machine; $loading)"
is_cat "$url" || die "no cat"
docker logs "$id" 2>&1 | grep 'processes, seccomp' >/dev/null || die "the decoders are not locked in"
[ "$(docker exec "$id" id -u)" = 10001 ] || die "runs as root"
docker exec "$id" touch /x 2>/dev/null && die "the root file system can be written"
docker exec "$id" unshare -U true 2>/dev/null && die "seccomp lets it make namespaces"
wait_until 60 sh -c "[ \"\$(/usr/bin/docker inspect -f '{{.State.Health.Status}}' $id)\" = healthy ]" ||
    die "HEALTHCHECK: $(docker inspect -f '{{json .State.Health}}' "$id")"
docker stop -t 30 "$id" >/dev/null
[ "$(docker inspect -f '{{.State.ExitCode}}' "$id")" = 0 ] || die "SIGTERM did not end it with 0"
docker rm "$id" >/dev/null

say "a model from a volume"
docker run --rm -v "$PWD/tests/golden/fixtures/tiny_timm:/weights/tiny:ro" -e SENETD_WEIGHTS=/weights/tiny \
    senetd:runtime --check | head -2

say "the Debian packages under systemd"
package_test

# The balancer and Prometheus from Debian's packages; where a registry is at hand, theirs.
for package in haproxy prometheus; do
    printf 'FROM debian:bookworm-slim\nRUN apt-get update && apt-get install -y --no-install-recommends %s\n' \
        "$package" | docker build -q -t "$package:debian" - >/dev/null
done
export HAPROXY_IMAGE=haproxy:debian PROMETHEUS_IMAGE=prometheus:entry SENETD_IMAGE=senetd
printf 'FROM prometheus:debian\nRUN mkdir -p /prometheus && chmod 777 /prometheus\nUSER 65534\nENTRYPOINT ["prometheus"]\n' |
    docker build -q -t prometheus:entry - >/dev/null

say "compose: one daemon"
compose() { (cd deploy && docker-compose --compatibility "$@"); }
compose up -d
wait_until 60 is_cat "http://127.0.0.1:$SENETD_PORT" || { compose logs; die "compose up"; }

say "compose: the fleet"
compose --profile fleet up -d --no-build haproxy prometheus
wait_until 60 is_cat "http://127.0.0.1:$FLEET_PORT" || { compose --profile fleet logs --tail 20; die "fleet"; }
up() { [ "$(curl -fsS "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query?query=sum(up)" | grep -o '"[0-9]*"\]' | tr -d '"]')" = "$1" ]; }
wait_until 60 up 4 || die "Prometheus does not see three replicas and the balancer"
say "Prometheus sees three replicas and the balancer"
[ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$FLEET_PORT/metrics")" = 404 ] || die "metrics are public"

say "compose: the fleet under load"
tests/deploy/compose.py "$FLEET_PORT" cat || { compose --profile fleet logs --tail 20; die "requests were lost"; }
compose --profile fleet down -v -t 30
say passed
