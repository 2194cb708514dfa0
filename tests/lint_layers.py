# SPDX-License-Identifier: Apache-2.0
"""Holds every #include of a program to bazel/layers.bzl. Prints a line for each finding; exit 1 if there was any."""
import ast
import os
import re
import subprocess
import sys

TABLE = "bazel/layers.bzl"
GENERATED = {"tabard/v1": "proto"}


def read_table():
    text = open(TABLE).read()
    return ast.literal_eval(text[text.index("LAYERS = ") + len("LAYERS = "):text.index("\n}\n") + 2])


def findings(layers):
    tops = {folder.split("/")[0] for folder in layers}
    files = subprocess.check_output(["git", "ls-files", "*.c", "*.h"], text=True).split()
    for file in files:
        folder = os.path.dirname(file)
        if file.split("/")[0] not in tops:
            continue
        if folder not in layers:
            yield f"{file}: its folder has no row in {TABLE}"
            continue
        for number, line in enumerate(open(file), 1):
            match = re.match(r'#include "(.+)/[^/]+"', line)
            seen = match and GENERATED.get(match.group(1), match.group(1))
            if match and seen != folder and seen not in layers[folder]:
                yield f"{file}:{number}: {folder} doesn't see {seen} ({TABLE})"


found = list(findings(read_table()))
for finding in found:
    print("lint: " + finding)
sys.exit(1 if found else 0)
