#!/bin/sh
# valgrind.sh SENETD - start, a classification, a broken upload, SIGTERM: without a leak or an
# error that Valgrind sees. Uses the tiny model of the golden tests.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect --error-exitcode=99 \
    "$1" --decoder inline --seccomp off --weights tests/golden/fixtures/tiny_timm --listen 127.0.0.1:0 \
    --port-file "$work/port" --workers 2 >"$work/log" 2>&1 &
daemon=$!
for _ in $(seq 300); do
    [ -s "$work/port" ] && curl -fsS "localhost:$(cat "$work/port")/readyz" >/dev/null 2>&1 && break
    sleep 0.2
done
url=http://localhost:$(cat "$work/port")
curl -fsS -F image=@tests/data/cat.jpg "$url/classify" >"$work/answer"
grep -q '"top_k"' "$work/answer"
status=$(curl -s -o /dev/null -w '%{http_code}' --data-binary 'no image' "$url/classify")
[ "$status" = 415 ]
curl -fsS "$url/se-weights" >/dev/null
kill -TERM "$daemon"
if wait "$daemon"; then
    echo "valgrind: clean"
else
    cat "$work/log"
    exit 1
fi
