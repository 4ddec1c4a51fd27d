#!/bin/sh
# lint.sh BUILD_DIR - rules that neither the compiler nor clang-format knows; see DESIGN.md.
set -u
build=$1
bad=0
complain() {
    echo "lint: $1"
    bad=1
}

# External functions carry the stem of their file, so that a name tells where to look. senet.c,
# sniff.c and resample.c implement headers of include/; stb.c has stb_image inside.
for object in "$build"/model/*.o "$build"/server/*.o; do
    stem=$(basename "$object" .o)
    case $stem in
    main) allowed=main ;;
    sniff) allowed='sniff_|image_sniff' ;;
    stb) allowed='stb_|stbi_' ;;
    resample) allowed='resample_|image_|preprocess_' ;;
    safetensors) allowed='safetensors_|tensor_' ;;
    *) allowed="${stem}" ;;
    esac
    found=$(nm -g --defined-only "$object" | awk '{print $3}' | grep -Ev "^($allowed)" | tr '\n' ' ')
    [ -z "$found" ] || complain "$stem.c exports without its stem: $found"
done

# Functions with no bound on what they write, or that hide errors.
grep -nE '\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|gets)\(' \
    include/*.h model/*.[ch] server/*.[ch] && complain "banned function"

# Forward allocates nothing.
grep -nE '\b(malloc|calloc|realloc|free|arena_commit)\(' model/network.c model/kernels_*.c &&
    complain "allocation in the forward pass"

# Deadlines must not move with the wall clock; these tell the time of day.
grep -nE '\b(CLOCK_REALTIME|gettimeofday\(|time\(NULL\))' model/*.[ch] server/*.[ch] |
    grep -vE '^server/(log|metrics|v2_stats|tls)\.c:' && complain "wall clock"

# Only main.c ends the process; keeper.c ends its own children.
grep -nE '\b(exit|_exit|abort)\(' model/*.c server/*.c | grep -vE '^server/(main|keeper)\.c:' &&
    complain "exit outside main.c and keeper.c"

# Each of these libraries has one door, in each folder at most.
for header in stb/stb_image.h jpeglib.h png.h webp/decode.h webp/demux.h cblas.h nettle/sha2.h microhttpd.h \
              gnutls/gnutls.h gmp.h seccomp.h; do
    for folder in model server; do
        users=$(grep -lE "#include <$header>" $folder/*.c 2>/dev/null | wc -l)
        [ "$users" -le 1 ] || complain "$header is included by $users files of $folder, expected one"
    done
done

# model/ knows nothing of HTTP; the -I flags keep the folders apart, this the libraries.
grep -nE '#include <(microhttpd|curl)' model/* && complain "HTTP in model/"

# File names are unique across the tree.
twice=$(find include model server -name '*.[ch]' -printf '%f\n' | sort | uniq -d | tr '\n' ' ')
[ -z "$twice" ] || complain "file names not unique: $twice"
exit "$bad"
