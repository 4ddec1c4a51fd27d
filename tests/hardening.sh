#!/bin/sh
# hardening.sh SENETD - the program is position-independent, its relocations are read-only once it
# runs, no page of it is writable and executable, stack frames and libc calls are guarded, and on
# x86-64 it is marked for control-flow enforcement.
# Conditions are evaluated by expect.
# shellcheck disable=SC2016,SC2034
set -u
program=$1
bad=0
expect() {
    if eval "$2" >/dev/null 2>&1; then
        echo "hardening: $1"
    else
        echo "hardening: $1: NO"
        bad=1
    fi
}
headers=$(readelf -W -h -l "$program")
dynamic=$(readelf -W -d "$program")
symbols=$(readelf -W --dyn-syms "$program")
notes=$(readelf -W -n "$program")
expect 'PIE' 'echo "$headers" | grep -q "Type: *DYN"'
expect 'RELRO' 'echo "$headers" | grep -q GNU_RELRO'
expect 'immediate binding' 'echo "$dynamic" | grep -q "FLAGS_1.*NOW"'
expect 'no executable stack' 'echo "$headers" | grep "GNU_STACK" | grep -q " RW "'
expect 'no writable and executable segment' '! echo "$headers" | grep -E "LOAD .* RWE"'
expect 'stack protector' 'echo "$symbols" | grep -q __stack_chk_fail'
expect 'FORTIFY_SOURCE' 'echo "$symbols" | grep -qE "__(mem(cpy|move|set)|snprintf|fprintf)_chk"'
expect 'no text relocation' '! echo "$dynamic" | grep -q TEXTREL'
expect 'no run path' '! echo "$dynamic" | grep -qE "RPATH|RUNPATH"'
if echo "$headers" | grep -q 'X86-64'; then
    expect 'CET: indirect branch tracking' 'echo "$notes" | grep -q IBT'
    expect 'CET: shadow stack' 'echo "$notes" | grep -q SHSTK'
fi
exit "$bad"
