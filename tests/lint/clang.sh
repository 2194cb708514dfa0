#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# clang.sh TARGETS...: compiles with clang as .bazelrc's config of that name says: a target includes only headers of
# its own deps, and clang's warnings that gcc doesn't have are errors.
set -uo pipefail
said=$(bazel build --config=clang --keep_going --output_groups=compilation_outputs \
    --ui_event_filters=-info,-debug --noshow_progress --noshow_loading_progress --show_result=0 "$@" 2>&1) && exit 0
found=$(grep -E '^[^ ]+:[0-9]+:[0-9]+: (fatal )?error: ' <<<"$said" | sort -u | sed 's/^/lint: /')
echo "${found:-lint: $said}"
exit 1
