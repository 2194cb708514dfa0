#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What ./dev lint checks beyond format: licence lines, sizes, who may include whom, shell scripts, and clang's warnings
# that gcc doesn't have. One line for each finding; exit 1 if there was any.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

FILE_LINES_MAX=450
FUNCTION_LINES_MAX=80
TEST_LINES_MAX=700 # tables are long
mapfile -t program_files < <(git ls-files '*.c' '*.h' ':!tests')
mapfile -t licensed < <(git ls-files '*.c' '*.h' '*.proto' '*.py' '*.sh' '*BUILD' dev .ci/run ':!bazel')
findings=0

found() {
    echo "lint: $*"
    findings=$((findings + 1))
}

for file in "${licensed[@]}"; do
    head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || found "$file: no SPDX line at its top"
done

for file in $(git ls-files '*.c' '*.h' '*.py'); do
    lines=$(wc -l <"$file")
    max=$FILE_LINES_MAX
    [[ $file != tests/unit/* ]] || max=$TEST_LINES_MAX
    [ "$lines" -le $max ] || found "$file: $lines lines; $max are enough for one noun"
done

# In this format a function's body opens with { and closes with } alone in the first column.
while read -r finding; do
    found "$finding"
done < <(awk -v max=$FUNCTION_LINES_MAX '
    /^\{/ { start = FNR }
    /^\}$/ && start { if (FNR - start - 1 > max) print FILENAME ":" start ": a function of " FNR - start - 1 " lines; " max " are enough"; start = 0 }
' "${program_files[@]}")

# refuse INCLUDE WHY FILES...: none of the files includes what matches.
refuse() {
    local include=$1 why=$2 hit
    shift 2
    [ $# -gt 0 ] || return 0
    while read -r hit; do
        found "$hit: $why"
    done < <(grep -HnE "^#include [<\"]($include)" "$@" /dev/null | cut -d: -f1,2)
}

list() {
    git ls-files "$@" | grep -E '\.[ch]$' || true
}

# shellcheck disable=SC2046 # file names here hold no spaces
{
    refuse 'openssl/ssl\.h' 'TLS is spoken in certs/context, proxy/carry/tls, proxy/link/signer, net/ and the *tls.c that set it up for a control program' \
        $(list base certs net proxy control | grep -vE '^(certs/context|proxy/carry/tls|proxy/link/signer|control/(agent|policyd)/[a-z_/]*tls)\.[ch]$|^net/')
    refuse 'uv\.h' 'no event loop in what is pure' $(list base certs | cat) $(list proxy/rules 'proxy/carry/ring.*')
}

/usr/bin/python3 -B tests/lint_layers.py || findings=$((findings + 1))

mapfile -t scripts < <(git ls-files '*.sh' dev .ci/run)
shellcheck "${scripts[@]}" || findings=$((findings + 1))
/usr/bin/python3 -B - <<'END' || findings=$((findings + 1))
import ast, subprocess
for name in subprocess.check_output(["git", "ls-files", "*.py"], text=True).split():
    ast.parse(open(name).read(), name)
END

boringssl=${BORINGSSL_ROOT:+$BORINGSSL_ROOT/include}
for file in "${program_files[@]}"; do
    case $file in *.c) ;; *) continue ;; esac
    clang -std=gnu17 -fsyntax-only -Werror -I. -Ibazel-bin/proto -isystem "${boringssl:-/usr/include/android}" \
        -D_FORTIFY_SOURCE=0 -Wall -Wextra -Wshadow-all -Wcomma -Wimplicit-fallthrough -Wunreachable-code \
        -Wconditional-uninitialized -Wmissing-variable-declarations -Wassign-enum -Wloop-analysis -Wextra-semi-stmt \
        -Wnewline-eof "$file" || findings=$((findings + 1))
done

[ $findings = 0 ] || {
    echo "lint: $findings findings"
    exit 1
}
