#!/bin/sh
# test_fetch.sh - weights/fetch.sh against a stand-in for the hub. Run by hand, after make:
#
#     tests/scripts/test_fetch.sh
#
# Needs Python (its standard library only), curl and build/senetd (or $SENETD).
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
SENETD=${SENETD:-$root/build/senetd}
export SENETD FETCH_PAUSE=0
model=$root/tests/golden/fixtures/tiny_timm
work=$(mktemp -d)
passed=0
failed=0

[ -x "$SENETD" ] || {
    echo "test_fetch.sh: $SENETD is not there; run make" >&2
    exit 1
}

# publish NAME: offers the tiny model under the name of a real one.
publish() {
    offered=$work/hub/timm/seresnet50.$1/resolve/main
    mkdir -p "$offered"
    cp "$model/config.json" "$model/model.safetensors" "$offered"
}

start_hub() {
    python3 "$root/tests/scripts/hub.py" "$work/hub" "$work/port" "$work/log" &
    hub=$!
    trap 'kill "$hub" 2>/dev/null; rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM
    waited=0
    while [ ! -s "$work/port" ]; do
        waited=$((waited + 1))
        [ "$waited" -lt 100 ] || exit 1
        sleep 0.1
    done
    SENETD_HUB=http://127.0.0.1:$(cat "$work/port")
    export SENETD_HUB
}

# fetch EXPECTED_STATUS NAME: output in $work/output, files in $work/NAME.
fetch() {
    : >"$work/log"
    status=0
    "$root/weights/fetch.sh" "$2" "$work/$2" >"$work/output" 2>&1 || status=$?
    [ "$status" -eq "$1" ] || {
        fault="exit status $status, expected $1"
        return 1
    }
}

says() {
    grep -q -e "$1" "$work/output" || {
        fault="no \"$1\" in the output"
        return 1
    }
}

logged() {
    grep -q -e "$1" "$work/log" || {
        fault="no request \"$1\""
        return 1
    }
}

whole() {
    for file in config.json model.safetensors; do
        cmp -s "$model/$file" "$work/$1/$file" || {
            fault="$file is not what the hub offers"
            return 1
        }
        [ ! -e "$work/$1/$file.part" ] || {
            fault="$file.part was left"
            return 1
        }
    done
}

absent() {
    [ ! -e "$1" ] || {
        fault="$1 is there"
        return 1
    }
}

check() {
    fault=
    if "$1"; then
        echo "ok $1"
        passed=$((passed + 1))
    else
        echo "not ok $1: $fault"
        sed 's/^/    /' "$work/output" "$work/log"
        failed=$((failed + 1))
    fi
}

fetches_and_checks() {
    publish a1_in1k
    fetch 0 a1_in1k && whole a1_in1k && says ready && says 'seresnet_tiny'
}

keeps_what_is_there() {
    fetch 0 a1_in1k && says 'already there' && [ ! -s "$work/log" ]
}

goes_on_within_a_run() {
    publish a2_in1k
    touch "$offered/model.safetensors.cut"
    half=$(($(wc -c <"$model/model.safetensors") / 2))
    fetch 0 a2_in1k && whole a2_in1k && logged "bytes=$half- 206"
}

goes_on_in_a_later_run() {
    rm -r "$work/a2_in1k"
    touch "$offered/model.safetensors.cut"
    FETCH_TRIES=1 fetch 1 a2_in1k && says 'run the same command again' || return 1
    absent "$work/a2_in1k/model.safetensors" || return 1
    fetch 0 a2_in1k && whole a2_in1k && says "going on after $half bytes" &&
        logged "bytes=$half- 206"
}

starts_over_without_ranges() {
    rm -r "$work/a2_in1k"
    touch "$offered/model.safetensors.cut" "$offered/model.safetensors.norange"
    fetch 0 a2_in1k && whole a2_in1k
    outcome=$?
    rm "$offered/model.safetensors.norange"
    return $outcome
}

takes_a_complete_part() {
    mv "$work/a2_in1k/model.safetensors" "$work/a2_in1k/model.safetensors.part"
    fetch 0 a2_in1k && whole a2_in1k && logged ' 416$'
}

drops_a_part_that_is_too_long() {
    cat "$model/model.safetensors" "$model/config.json" >"$work/a2_in1k/model.safetensors.part"
    rm "$work/a2_in1k/model.safetensors"
    fetch 0 a2_in1k && whole a2_in1k
}

tries_again_when_busy() {
    rm -r "$work/a2_in1k"
    touch "$offered/config.json.busy"
    fetch 0 a2_in1k && whole a2_in1k && logged ' 503$'
}

reports_what_is_not_there() {
    fetch 1 a3_in1k && says 'seresnet50.a3_in1k/resolve/main/config.json: not there' &&
        absent "$work/a3_in1k/config.json" && absent "$work/a3_in1k/config.json.part"
}

refuses_a_corrupt_file() {
    publish ra2_in1k
    printf 'XXXXXXXXXXXXXXXX' | dd of="$offered/model.safetensors" conv=notrunc 2>/dev/null
    fetch 1 ra2_in1k && says 'senetd refuses these weights'
}

reports_a_hub_out_of_reach() {
    SENETD_HUB=http://127.0.0.1:1 fetch 1 a3_in1k && says 'cannot be reached'
}

knows_its_names() {
    fetch 2 b1_in1k && says '^usage:' && absent "$work/b1_in1k"
}

start_hub
for test in fetches_and_checks keeps_what_is_there goes_on_within_a_run goes_on_in_a_later_run \
    starts_over_without_ranges takes_a_complete_part drops_a_part_that_is_too_long \
    tries_again_when_busy reports_what_is_not_there refuses_a_corrupt_file \
    reports_a_hub_out_of_reach knows_its_names; do
    check "$test"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
