#!/bin/bash
# systemd.sh UNIT PROGRAM - the unit is right, and exposed no more than 2.0 by systemd's own measure.
# Without a running systemd: verify looks at a copy of the unit whose program exists.
set -euo pipefail
unit=$1 program=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed "s|^ExecStart=[^ ]*|ExecStart=$program|" "$unit" >"$work/senetd.service"
systemd-analyze verify --man=no "$work/senetd.service" 2>"$work/complaints" || true
# What verify says of other units of this machine is not ours.
if grep -F senetd.service "$work/complaints"; then exit 1; fi
systemd-analyze security --offline=true --threshold=20 --no-pager "$work/senetd.service" >"$work/score" ||
    { cat "$work/score"; exit 1; }
tail -1 "$work/score"
