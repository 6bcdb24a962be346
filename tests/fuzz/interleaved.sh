#!/bin/sh
# Builds the interleaved engine's fuzzer and runs it:
#   tests/fuzz/interleaved.sh plain|sanitized [ARGUMENT...]      see interleaved.c
#   CC=clang tests/fuzz/interleaved.sh libfuzzer FOLDER -max_total_time=600
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
"${CC:-gcc}" -std=gnu11 -Wall -Wextra $flags -I"$core" "$here/interleaved.c" \
    "$core"/inflate/interleaved/*.c -lz -o "$where/interleaved"
"$where/interleaved" "$@"
