# shellcheck shell=bash
# engine.sh - to be sourced by root: a Docker engine of its own in $engine, started by hand, with a
# base image made by debootstrap, as no registry is asked for one. The base is kept in
# build/deploy/base.tar. Leaves nothing behind when the shell ends.
engine=${SENETD_ENGINE:-/var/tmp/senetd-engine.$$}
base_tar=${SENETD_BASE_TAR:-$PWD/build/deploy/base.tar}
export DOCKER_HOST=unix://$engine/docker.sock DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
docker() { /usr/bin/docker "$@"; } # Debian's client, whatever else is in PATH

engine_stop() {
    local pid
    pid=$(cat "$engine/dockerd.pid" 2>/dev/null || true)
    [ -z "$pid" ] || { kill -TERM "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done; }
    umount "$engine/exec/netns/default" 2>/dev/null || true
    ip link delete docker0 2>/dev/null || true
    [ ! -s "$engine/iptables" ] || iptables-restore <"$engine/iptables"
    rm -rf "$engine"
}

# What this machine's apt is told about its mirror holds in the base as well.
engine_base() {
    [ -s "$base_tar" ] && return
    local root uri include=
    mkdir -p "$(dirname "$base_tar")"
    root=$(mktemp -d /var/tmp/senetd-base.XXXXXX)
    # shellcheck disable=SC2016
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -1)
    # Like the image of that name it has certificates only where they are needed to get packages.
    case $uri in https:*) include=--include=ca-certificates ;; esac
    debootstrap --variant=minbase $include bookworm "$root" "$uri" >"$base_tar.log"
    chmod 0755 "$root"
    rm "$root/etc/apt/sources.list"
    grep -rl --include='*.list' --include='*.sources' "${uri%/}" /etc/apt |
        xargs cp -t "$root/etc/apt/sources.list.d"
    grep -l Acquire /etc/apt/apt.conf.d/* | xargs -r cp -t "$root/etc/apt/apt.conf.d"
    rm -rf "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
    tar -C "$root" -cf "$base_tar.part" . && mv "$base_tar.part" "$base_tar"
    rm -rf "$root"
}

engine_start() {
    mkdir -p "$engine"
    iptables-save >"$engine/iptables"
    trap engine_stop EXIT
    dockerd --data-root "$engine/data" --exec-root "$engine/exec" --pidfile "$engine/dockerd.pid" \
        -H "$DOCKER_HOST" --storage-driver overlay2 --oom-score-adjust 0 \
        --default-ulimit nofile=16384:16384 >"$engine/log" 2>&1 &
    for _ in $(seq 300); do
        if docker info >/dev/null 2>&1; then break; fi
        sleep 0.2
    done
    docker info >/dev/null || { tail -20 "$engine/log"; return 1; }
    docker import --change 'CMD ["/bin/bash"]' "$base_tar" debian:bookworm-slim >/dev/null
}
