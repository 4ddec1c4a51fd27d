#!/bin/bash
# aarch64.sh PACKAGE... - builds senetd and the kernels' tests for aarch64 against the libraries of
# these packages, and runs them by QEMU: every NEON backend against the reference, the demo model on a
# photo in every precision. The packages are unpacked below build/aarch64: nothing of the system is
# touched.
set -euo pipefail
cd "$(dirname "$0")/../.."
top=$PWD/build/aarch64
root=$top/root triple=aarch64-linux-gnu
say() { echo "aarch64: $*"; }

if [ ! -e "$top/unpacked" ]; then
    say "libraries"
    rm -rf "$top" && mkdir -p "$top"/apt/{lists,archives}/partial "$root"
    apt_arm64() {
        apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
            -o Dir::State::Lists="$top/apt/lists" -o Dir::Cache="$top/apt" \
            -o Dir::State::status=/dev/null -o APT::Sandbox::User=root "$@"
    }
    apt_arm64 update
    apt_arm64 install --download-only --no-install-recommends -y "$@" >/dev/null
    for package in "$top"/apt/archives/*.deb; do dpkg -x "$package" "$root"; done
    rm -rf "$top/apt"
    # Links that lead out of the folder lead into it.
    find "$root" -lname '/*' | while read -r link; do ln -sfn "$root$(readlink "$link")" "$link"; done
    touch "$top/unpacked"
fi

# OpenBLAS lies where update-alternatives would link to.
blas=$root/usr/lib/$triple/openblas-pthread
export PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_LIBDIR=$root/usr/lib/$triple/pkgconfig:$root/usr/share/pkgconfig
say "build"
make --no-print-directory O=build/aarch64 CC=$triple-gcc \
    CFLAGS="--sysroot=$root -I$root/usr/include/$triple/openblas-pthread" \
    LDFLAGS="--sysroot=$root -L$blas -Wl,-rpath-link,$blas" \
    build/aarch64/senetd build/aarch64/tests/unit/test_{kernels,pointwise}
run() { qemu-aarch64 -cpu max -L "$root" -E LD_LIBRARY_PATH="$blas" -E OPENBLAS_NUM_THREADS=1 "$@"; }

file build/aarch64/senetd 2>/dev/null | cut -c 1-100
say "kernels"
run build/aarch64/tests/unit/test_kernels
run build/aarch64/tests/unit/test_pointwise
for precision in fp32 bf16 int8; do
    label=$(run build/aarch64/senetd classify --json --weights weights/demo --precision $precision \
        tests/data/cat.jpg | grep -oE '"label": ?"[^"]*"' | head -1) || true
    say "$precision: $label"
    [ -n "$label" ] || [ $precision = int8 ] || exit 1 # int8 needs calibrated weights
    [ -z "$label" ] || [[ $label = *cat* ]]
done
say passed
