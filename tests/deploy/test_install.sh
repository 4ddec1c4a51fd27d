#!/bin/bash
# test_install.sh - make install into a folder; what lies there works from there: the program, its
# manual page and completion, and libsenet for a program of somebody else's. Speaks as cmocka does,
# for tests/run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD/build/installed
name=
check() { # check NAME: the test that begins here
    [ -z "$name" ] || echo "[       OK ] $name"
    name=$1
    [ -z "$name" ] || echo "[ RUN      ] $name"
}
trap '[ $? -eq 0 ] || echo "[  FAILED  ] $name"' EXIT
expect() { # expect TEXT: standard input has it
    local text
    text=$(cat)
    grep -qF -- "$1" <<<"$text" || { echo "expected '$1' in: $text"; exit 1; }
}
refuse() { # refuse COMMAND...: it fails, and what it prints is shown where it does not
    if "$@"; then exit 1; fi
}

check install_puts_everything_below_destdir
rm -rf "$root"
make -s --no-print-directory install install-demo DESTDIR="$root" PREFIX=/usr >/dev/null
for file in usr/bin/senetd usr/lib/libsenet.a usr/lib/libsenet.so.0 usr/lib/pkgconfig/libsenet.pc \
    usr/include/senet/senet.h usr/share/man/man8/senetd.8 etc/senetd/config.json \
    usr/share/bash-completion/completions/senetd usr/lib/systemd/system/senetd.service \
    usr/share/senetd/weights/demo/model.safetensors; do
    [ -s "$root/$file" ] || { echo "$file is missing"; exit 1; }
done
refuse grep -rI '@[A-Z]*@' "$root/etc" "$root/usr/lib/systemd" "$root/usr/lib/pkgconfig" "$root/usr/share/man"

check the_installed_daemon_runs_with_its_configuration
"$root/usr/bin/senetd" --config "$root/etc/senetd/config.json" --print-config |
    expect /usr/share/senetd/weights/demo

check a_second_install_keeps_the_configuration
echo '{"listen": ":1"}' >"$root/etc/senetd/config.json"
make -s --no-print-directory install DESTDIR="$root" PREFIX=/usr >/dev/null
expect :1 <"$root/etc/senetd/config.json"

export PKG_CONFIG_PATH=$root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
example=$root/usr/share/doc/libsenet-dev/examples/classify.c

check an_example_links_the_shared_library
# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Werror "$example" -o "$root/example" $(pkg-config --cflags --libs libsenet)
LD_LIBRARY_PATH=$root/usr/lib "$root/example" weights/demo tests/data/cat.jpg | head -1 | expect cat

check an_example_links_the_static_library
# Flags of the system's libraries must not get the sysroot's prefix: they are not installed there.
# shellcheck disable=SC2046
cc "$example" -o "$root/example-static" $(pkg-config --cflags libsenet) \
    "$root/usr/lib/libsenet.a" $(sed -n 's/^Libs.private://p' "$PKG_CONFIG_PATH/libsenet.pc")
"$root/example-static" weights/demo tests/data/cat.jpg | head -1 | expect cat

check an_example_reports_what_is_wrong
refuse env LD_LIBRARY_PATH="$root/usr/lib" "$root/example" tests/data tests/data/cat.jpg 2>"$root/stderr"
expect model.safetensors <"$root/stderr"

check only_the_public_interface_is_exported
nm -D --defined-only "$root/usr/lib/libsenet.so.0" | awk '{print $3}' >"$root/exported"
grep -q '^senet_run$' "$root/exported"
refuse grep -vE '^(senet_|image_|preprocess_|calibration_|error_)' "$root/exported"

# What --help names: options, those without a value, commands. At least as many as there were once,
# lest a change of its form empties the list.
"$root/usr/bin/senetd" --help >"$root/help"
mapfile -t options < <(grep -oE -- '--[a-z][a-z0-9-]*' "$root/help" | sort -u)
mapfile -t commands < <(sed -nE 's/^  senetd \[?([a-z]+).*/\1/p' "$root/help" | sort -u)
if [ "${#options[@]}" -lt 45 ] || [ "${#commands[@]}" -lt 6 ]; then
    echo "--help names ${#options[@]} options and ${#commands[@]} commands"
    exit 1
fi

check the_manual_page_has_every_option_and_command
man=$root/usr/share/man/man8/senetd.8
for option in "${options[@]}"; do
    grep -qE -- "${option//-/\\\\-}([^a-z0-9\\\\]|$)" "$man" ||
        { echo "$option is not in the page"; exit 1; }
done
for command in "${commands[@]}"; do
    grep -qE "^\.(B|BI|BR) \"?$command\b" "$man" || { echo "$command is not in the page"; exit 1; }
done
if command -v man >/dev/null; then
    man --warnings -E UTF-8 -l "$man" 2>&1 >/dev/null | (! grep .)
fi

check bash_completes_every_command_and_option
bash -n "$root/usr/share/bash-completion/completions/senetd"
complete_line() { # complete_line WORD...: candidates for the last one
    bash -c '. /usr/share/bash-completion/bash_completion; . "$1"; shift
        PATH=$1:$PATH; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        _senetd; printf "%s\n" "${COMPREPLY[@]}"' _ \
        "$root/usr/share/bash-completion/completions/senetd" "$root/usr/bin" "$@"
}
complete_line senetd "" >"$root/offered"
complete_line senetd -- >>"$root/offered"
for word in "${options[@]}" "${commands[@]}"; do
    grep -qxF -- "$word" "$root/offered" || { echo "$word is not offered"; exit 1; }
done
complete_line senetd he | expect health
complete_line senetd health l | expect live
complete_line senetd --max-b | expect --max-body
complete_line senetd --kernels av | expect avx2
complete_line senetd --precision i | expect int8
complete_line senetd --labels tests/data/ca | expect tests/data/cat.jpg
complete_line senetd --images tests/dat | expect tests/data
complete_line senetd --queue "" | (! grep .)
complete_line senetd classify tests/data/ca | expect tests/data/cat.jpg

check the_unit_suits_the_system_it_is_for
for version in 252 255; do
    make -s --no-print-directory build/senetd.service SYSTEMD_VERSION=$version >/dev/null
    grep -hE '^(Type|ExecReload)=' build/senetd.service
done | tr '\n' ' ' | expect "Type=notify ExecReload=/bin/sh -c \"kill -HUP \$MAINPID\" Type=notify-reload"

check uninstall_leaves_the_configuration
make -s --no-print-directory uninstall DESTDIR="$root" PREFIX=/usr >/dev/null
[ "$(cd "$root" && find etc usr ! -type d)" = etc/senetd/config.json ]

check ""
