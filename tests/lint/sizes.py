# SPDX-License-Identifier: Apache-2.0
"""Licence lines, and what a file, a function and a folder may hold at most."""
import collections
import os
import re

import tree

FILE_LINES_MAX = 450
TEST_LINES_MAX = 700  # tables are long
FUNCTION_LINES_MAX = 80
FOLDER_FILES_MAX = 22
TEST_FOLDER_FILES_MAX = 40  # a file for each behaviour; no layer
LICENSED = ["*.c", "*.h", "*.proto", "*.py", "*.sh", "*.bzl", "*BUILD", ".bazelrc", "dev", ".ci/run", ":!bazel/rules_*",
            ":!bazel/coverage"]

# In this format a function's body opens with { and closes with } alone in the first column.
BODY = re.compile(r"^\{(.*?)^\}$", re.S | re.M)


def findings():
    for file in tree.files(*LICENSED):
        if "SPDX-License-Identifier: Apache-2.0" not in "".join(tree.read(file).split("\n")[:2]):
            yield f"{file}: no SPDX line at its top"
    folders = collections.Counter()
    for file in tree.files("*.c", "*.h", "*.py"):
        text = tree.read(file)
        most = TEST_LINES_MAX if file.startswith("tests/unit/") else FILE_LINES_MAX
        lines = text.count("\n")
        if lines > most:
            yield f"{file}: {lines} lines; {most} are enough for one noun"
        folders[os.path.dirname(file)] += 1
        if not tree.is_program(file):
            continue
        for body in BODY.finditer(text):
            lines = body.group(1).count("\n") - 1
            if lines > FUNCTION_LINES_MAX:
                start = text.count("\n", 0, body.start()) + 1
                yield f"{file}:{start}: a function of {lines} lines; {FUNCTION_LINES_MAX} are enough"
    for folder, number in folders.items():
        most = TEST_FOLDER_FILES_MAX if folder.startswith("tests/") else FOLDER_FILES_MAX
        if number > most:
            yield f"{folder}: {number} files; {most} are enough for one layer"


if __name__ == "__main__":
    tree.report(findings())
