#!/bin/sh
# run.sh FOLDER SECONDS - lets the fuzzers in FOLDER run so long, side by side, from the seeds and
# what earlier runs found in FOLDER/corpus, and tells executions and coverage. A finding ends its
# fuzzer, its input stays in FOLDER.
set -u
folder=$1 seconds=$2
bad=0
python3 tests/fuzz/seeds.py "$folder/seeds"

fuzz() { # fuzz NAME
    mkdir -p "$folder/corpus/$1"
    ASAN_OPTIONS=allocator_may_return_null=1 exec "$folder/fuzz_$1" -max_total_time="$seconds" \
        -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$folder/$1-" "$folder/corpus/$1" "$folder/seeds/$1" \
        >"$folder/$1.log" 2>&1
}

running=
for fuzzer in "$folder"/fuzz_*; do
    case $fuzzer in *.o | *.d) continue ;; esac
    name=${fuzzer##*/fuzz_}
    fuzz "$name" &
    running="$running $name=$!"
done
for each in $running; do
    name=${each%=*}
    if wait "${each#*=}"; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/$name.log")
        edges=$(grep -o 'cov: [0-9]*' "$folder/$name.log" | tail -1)
        echo "fuzz $name: $runs executions, $edges edges, nothing found"
    else
        tail -40 "$folder/$name.log"
        echo "fuzz $name: FOUND something, see $folder/$name.log"
        bad=1
    fi
done
exit "$bad"
