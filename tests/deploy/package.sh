# shellcheck shell=bash
# package.sh - to be sourced after engine.sh, with an engine that runs: installs the packages of
# build/deb into a container whose PID 1 is systemd, and has the unit start, reload and stop the
# daemon under all its restrictions.

# The stop comes while bodies are under way, which are decoded after it: with KillMode=mixed the keeper
# and the decoders live until the daemon has drained, and none is left when it has ended.
stop_test() {
    local codes family='grep -lxE "senetd-(keeper|decoder)" /proc/[0-9]*/comm'
    say "keeper and decoders: $(inside sh -c "$family | wc -l")"
    # shellcheck disable=SC2016
    codes=$(inside sh -c '
        for _ in $(seq 12); do
            { head -c 1000 /packages/cat.jpg; sleep 3; tail -c +1001 /packages/cat.jpg; } |
                curl -s -o /dev/null -w "%{http_code}\n" -X POST -T - "localhost:8080/classify?excitations=none" &
        done
        sleep 1
        systemctl stop senetd
        wait' | sort | uniq -c | xargs)
    say "of 12 uploads under way at systemctl stop: $codes"
    [ "$codes" = "12 200" ] || { inside journalctl -u senetd -n 30; die "uploads were lost"; }
    [ "$(inside systemctl show senetd -p Result --value)" = success ] || die "systemctl stop"
    if inside journalctl -u senetd -q | grep 'decoding process ended'; then die "a decoder was killed"; fi
    if inside sh -c "$family"; then die "processes are left"; fi
}

package_test() {
    local folder id pid
    folder=$(mktemp -d)
    cp build/deb/senetd_*.deb build/deb/senetd-demo-weights_*.deb tests/data/cat.jpg "$folder"
    cat >"$folder/Dockerfile" <<'DOCKERFILE'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv curl
COPY . /packages
RUN apt-get install -y --no-install-recommends /packages/*.deb
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
DOCKERFILE
    docker build -q -t senetd:package "$folder" >/dev/null
    rm -rf "$folder"
    # systemd needs a writable cgroup tree and mounts of its own; the daemon gets what the unit grants.
    # Not --privileged: that asks for SYS_RESOURCE, which some virtual machines have not to give.
    id=$(docker run -d --cap-add ALL --cap-drop SYS_RESOURCE --security-opt seccomp=unconfined \
        --security-opt apparmor=unconfined --tmpfs /run --tmpfs /run/lock \
        -v /sys/fs/cgroup:/sys/fs/cgroup senetd:package)
    inside() { docker exec "$id" "$@"; }
    wait_until 120 inside systemctl is-active senetd ||
        { inside journalctl -u senetd -n 30 || docker logs "$id"; die "the unit does not start"; }
    inside curl -fsS -F image=@/packages/cat.jpg 'localhost:8080/classify?excitations=none' | grep -q '"cat"' ||
        die "no cat from the packaged daemon"
    inside journalctl -u senetd | grep 'processes, seccomp' >/dev/null || die "the decoders are not locked in"
    inside systemctl reload senetd || die "systemctl reload"
    wait_until 30 sh -c "/usr/bin/docker exec $id journalctl -u senetd | grep -c 'loaded in' | grep -qx 2" ||
        { inside journalctl -u senetd -n 30; die "no second load after systemctl reload"; }
    say "$(inside systemctl show senetd -p Type -p NRestarts -p StatusText | tr '\n' ' ')"
    pid=$(inside systemctl show senetd -p MainPID --value)
    say "$(inside grep -E '^(Uid|NoNewPrivs|Seccomp|CapEff):' "/proc/$pid/status" | tr -s '\t\n' ' ')"
    inside journalctl -u senetd -q | grep -iE 'error|warn' || true
    stop_test
    docker rm -f "$id" >/dev/null
}
