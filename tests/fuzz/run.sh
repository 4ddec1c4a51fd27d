#!/bin/sh
# run.sh FOLDER SECONDS - lets each fuzzer in FOLDER run so long, from the seeds and what earlier
# runs found in FOLDER/corpus, and tells executions and coverage. A finding ends it, its input
# stays in FOLDER.
set -u
folder=$1 seconds=$2
bad=0
python3 tests/fuzz/seeds.py "$folder/seeds"
for fuzzer in "$folder"/fuzz_*; do
    case $fuzzer in *.o | *.d) continue ;; esac
    name=${fuzzer##*/fuzz_}
    mkdir -p "$folder/corpus/$name"
    if ASAN_OPTIONS=allocator_may_return_null=1 "$fuzzer" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$folder/$name-" "$folder/corpus/$name" "$folder/seeds/$name" \
        >"$folder/$name.log" 2>&1; then
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
