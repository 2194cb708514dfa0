#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes one target with libFuzzer of Debian's clang and libclang-rt-14-dev, and the address and undefined-behaviour sanitizers:
#   tests/fuzz/fuzz.sh NAME [libFuzzer flags, such as -max_total_time=60]
# The names stand in tests/fuzz/BUILD.
# What it finds goes into tests/fuzz/seeds/NAME, where every build runs it again. The corpus is kept in out/fuzz/NAME.
# The seeds of "certs" are made anew each time, in out/fuzz/certs_seeds.
set -eu
cd "$(dirname "$0")/../.."
name=$1
shift
mkdir -p "out/fuzz/$name"
bazel build --config=fuzz --noshow_progress --show_result=0 "//tests/fuzz:${name}_fuzz"
seeds=tests/fuzz/seeds/$name
if [ "$name" = certs ]; then
    seeds=out/fuzz/certs_seeds
    mkdir -p "$seeds"
    bazel run --noshow_progress --ui_event_filters=-info //tests/fuzz:certs_seeds -- "$PWD/$seeds"
fi
exec "$(bazel info --config=fuzz bazel-bin 2>/dev/null)/tests/fuzz/${name}_fuzz" "$@" "out/fuzz/$name" "$seeds"
