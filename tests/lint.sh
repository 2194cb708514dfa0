#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What ./dev lint checks beyond format, each by a file of tests/lint. A line "lint: ..." for each finding; exit 1 if
# there was any. What a test sees each check find: tests/lint/test_lint.py.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
mkdir -p out
: >out/lint-findings

# A check says its findings, a line each; one that fails without a word of them is a finding itself.
run_check() {
    local name=$1 said
    shift
    said=$("$@" 2>&1) && return 0
    grep -q '^lint: ' <<<"$said" || said="lint: the check of $name failed: $said"
    tee -a out/lint-findings <<<"$said"
}

for check in sizes layers symbols names headers; do
    run_check $check /usr/bin/python3 -B tests/lint/$check.py
done
mapfile -t scripts < <(git ls-files '*.sh' dev .ci/run)
run_check scripts bash tests/lint/scripts.sh "${scripts[@]}"
run_check clang bash tests/lint/clang.sh //...

findings=$(grep -c '^lint: ' out/lint-findings)
[ "$findings" = 0 ] || {
    echo "lint: $findings findings"
    exit 1
}
