#!/bin/sh
# run.sh TEST... - runs each cmocka program in turn from the top of the repository and ends with
# one line, "N passed, N failed", that counts test functions. Exit status 1 on any failure.
set -u
output=$(mktemp)
trap 'rm -f "$output"' EXIT
passed=0 failed=0 skipped=0
for program in "$@"; do
    echo "== ${program##*/}"
    "$program" >"$output" 2>&1
    status=$?
    ok=$(grep -c '^\[       OK \]' "$output")
    skip=$(grep '^\[  SKIPPED \]' "$output" | grep -v 'test(s)' | sort -u | wc -l)
    bad=$(grep '^\[  FAILED  \]' "$output" | grep -v 'test(s)' | sort -u | wc -l)
    # A crash, or a sanitizer's report at exit, fails without a FAILED line.
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    if [ "$status" -eq 0 ] && [ "$((ok + skip))" -eq 0 ]; then
        echo "no test ran"
        bad=1
    fi
    if [ "$bad" -ne 0 ]; then
        cat "$output"
        echo "$program: exit status $status"
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
done
if [ "$skipped" -ne 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
