#!/bin/sh
# Builds the batch kernel's fuzzer and runs it:
#   tests/fuzz/batch.sh plain|sanitized [ARGUMENT...]      see batch.c
#   CC=clang tests/fuzz/batch.sh libfuzzer FOLDER -max_total_time=600
# zlib's headers must be there (Debian: zlib1g-dev).
set -eu
here=$(dirname -- "$0")
core=$here/../../src
kind=$1
shift
flags="-O2"
[ "$kind" = plain ] || flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover"
[ "$kind" != libfuzzer ] || flags="$flags -DLIBFUZZER -fsanitize=fuzzer"
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
# shellcheck disable=SC2086  # flags are words
"${CC:-gcc}" -std=gnu11 -Wall -Wextra $flags -I"$core" "$here/batch.c" "$core/inflate_batch.c" \
    "$core/inflate_avx512.c" "$core/inflate_avx2.c" "$core/inflate_portable.c" -lz -o "$where/batch"
"$where/batch" "$@"
