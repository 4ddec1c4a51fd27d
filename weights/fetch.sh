#!/bin/sh
# fetch.sh - download a published SE-ResNet-50 and check that senetd can serve it.
#
#     weights/fetch.sh NAME [DIRECTORY]
#
# An interrupted download goes on where it stopped when the same command runs again. Files appear
# under their names only when complete. SENETD_HUB names a mirror of the hub; SENETD the senetd
# that checks the result (default: build/senetd beside this checkout, else the one in PATH).
set -eu

hub=${SENETD_HUB:-https://huggingface.co}
hub=${hub%/}
here=$(cd "$(dirname "$0")" && pwd)

usage() {
    cat <<'EOF'
usage: weights/fetch.sh NAME [DIRECTORY]

  NAME      a1_in1k   ImageNet-1k, recipe A1 (600 epochs)
            a2_in1k   ImageNet-1k, recipe A2 (300 epochs)
            a3_in1k   ImageNet-1k, recipe A3 (100 epochs, trained at 160 x 160)
            ra2_in1k  ImageNet-1k, RandAugment
  DIRECTORY default: weights/seresnet50.NAME

Downloads config.json and model.safetensors (113 MB) of timm/seresnet50.NAME from
https://huggingface.co (or $SENETD_HUB) and runs senetd --check on them.
EOF
}

fail() {
    printf 'fetch.sh: %s\n' "$1" >&2
    exit 1
}

size_of() {
    wc -c <"$1" | tr -d ' '
}

# length_of URL: as the headers tell; the hub answers large files by a redirection that carries
# their length as X-Linked-Size. Nothing where it is unknown.
length_of() {
    curl --location --silent --head "$1" | tr -d '\r' | awk '
        tolower($1) == "content-length:" { length_ = $2 }
        tolower($1) == "x-linked-size:" { linked = $2 }
        END { print linked ? linked : length_ }'
}

# get FILE: one file of the model into $directory, by way of FILE.part.
get() {
    if [ -e "$directory/$1" ]; then
        printf '%s: already there\n' "$directory/$1"
        return
    fi
    url=$hub/timm/seresnet50.$name/resolve/main/$1
    part=$directory/$1.part
    tries=0
    while :; do
        if [ -s "$part" ]; then
            printf '%s: going on after %s bytes\n' "$url" "$(size_of "$part")"
        else
            printf '%s\n' "$url"
        fi
        status=0
        code=$(curl --location --continue-at - "$progress" --show-error --connect-timeout 20 \
            --speed-limit 1000 --speed-time 30 --output "$part" --write-out '%{http_code}' \
            --fail "$url") || status=$?
        case $status:$code in
        *:416)
            # Nothing comes after what we have. Either that is all (the move below was
            # interrupted), or it is not this file; the length that the hub tells decides.
            [ "$(length_of "$url")" = "$(size_of "$part")" ] && break
            rm -f "$part"
            ;;
        0:*)
            break
            ;;
        *:429) ;;
        *:404 | *:401)
            rm -f "$part"
            fail "$url: not there (status $code)"
            ;;
        *:4??)
            fail "$url: refused with status $code"
            ;;
        33:*)
            # The server cannot resume: once more from the start.
            rm -f "$part"
            ;;
        6:* | 7:* | 35:* | 60:*)
            fail "$hub cannot be reached; SENETD_HUB may name a mirror"
            ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt "${FETCH_TRIES:-5}" ] ||
            fail "$url: gave up after $tries tries; run the same command again to go on"
        sleep "${FETCH_PAUSE:-2}"
    done
    mv "$part" "$directory/$1"
}

[ $# -eq 1 ] || [ $# -eq 2 ] || {
    usage >&2
    exit 2
}
name=$1
case $name in
-h | --help)
    usage
    exit 0
    ;;
a1_in1k | a2_in1k | a3_in1k | ra2_in1k) ;;
*)
    usage >&2
    exit 2
    ;;
esac
directory=${2:-$here/seresnet50.$name}

command -v curl >/dev/null || fail "curl is not installed"
senetd=${SENETD:-}
if [ -z "$senetd" ] && [ -x "$here/../build/senetd" ]; then
    senetd=$here/../build/senetd
fi
if [ -z "$senetd" ]; then
    senetd=$(command -v senetd) || senetd=
fi

if [ -t 2 ]; then progress=--progress-bar; else progress=--silent; fi
mkdir -p "$directory" || fail "cannot make $directory"
get config.json
get model.safetensors

if [ -z "$senetd" ]; then
    printf '%s: complete, but not checked: no senetd found (build it with make)\n' "$directory"
    exit 0
fi
"$senetd" --check --weights "$directory" ||
    fail "$directory: senetd refuses these weights; remove the directory and fetch again"
printf '%s: ready; senetd --weights %s\n' "$directory" "$directory"
