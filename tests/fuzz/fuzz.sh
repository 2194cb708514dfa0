#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes one target with clang's libFuzzer, address and undefined-behaviour sanitizers:
#   tests/fuzz/fuzz.sh mesh|snapshot|policy [libFuzzer flags, such as -max_total_time=60]
# What it finds goes into tests/fuzz/seeds/NAME, where every build runs it again. The corpus is kept in build/fuzz/NAME.
set -eu
cd "$(dirname "$0")/../.."
name=$1
shift
out=${FUZZ_OUT:-build/fuzz}/$name
mkdir -p "$out/gen" "$out/corpus"
protoc-c -I proto --c_out="$out/gen" proto/tabard/v1/mesh.proto proto/tabard/v1/policy_agent.proto
more=
[ "$name" != policy ] || more="base/budget.c control/agent/sources/policy_agent/pa_response.c control/agent/sources/policy_agent/pa_text.c $out/gen/tabard/v1/policy_agent.pb-c.c"
# shellcheck disable=SC2086 # more is a list
clang -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. -I"$out/gen" \
    "tests/fuzz/${name}_fuzz.c" base/addr.c base/data/array.c base/err.c base/data/keymap.c base/log.c base/pb/pb_text*.c \
    certs/identity.c proxy/rules/name.c proxy/rules/policy*.c proxy/rules/route*.c proxy/rules/snapshot_join.c "$out/gen/tabard/v1/mesh.pb-c.c" $more \
    -lyaml -lprotobuf-c -lm -o "$out/${name}_fuzz"
exec "$out/${name}_fuzz" "$@" "$out/corpus" "tests/fuzz/seeds/$name"
