# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone: it includes what it uses. (This Bazel's toolchain has no parse_headers.)"""
import concurrent.futures
import re
import subprocess

import tree

COMMAND = ["gcc", "-std=gnu17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I.", "-Ibazel-bin/proto",
           *(f"-isystem{tree.boringssl()}/{folder}" for folder in ("include", "src/include")), "-include"]


def finding(header):
    done = subprocess.run(COMMAND + [header, "-x", "c", "/dev/null"], capture_output=True, text=True)
    first = re.search(r"^\S+:\d+:.*error: .*", done.stderr, re.M)
    return done.returncode and f"{header} doesn't compile alone: {first.group() if first else done.stderr}"


if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor() as pool:
        tree.report(filter(None, pool.map(finding, tree.files("*.h"))))
