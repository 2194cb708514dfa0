#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# scripts.sh FILE...: what shellcheck sees in shell scripts, and which Python files of the tree don't parse.
set -uo pipefail
status=0
shellcheck -f gcc "$@" | sed 's/^/lint: /' || status=1
git ls-files -z '*.py' | xargs -0 /usr/bin/python3 -B -c '
import ast, sys
status = 0
for name in sys.argv[1:]:
    try:
        ast.parse(open(name).read(), name)
    except SyntaxError as error:
        print(f"lint: {name}:{error.lineno}: {error.msg}")
        status = 1
sys.exit(status)' || status=1
exit $status
