# SPDX-License-Identifier: Apache-2.0
"""Holds every #include of a program, and the tables themselves, to bazel/layers.bzl."""
import os
import re

import tree

TABLE = "bazel/layers.bzl"
INCLUDE = re.compile(r'^#include ([<"])([^>"]+)[>"]', re.M)
GENERATED = {"tabard/v1": "proto", "grpc/health/v1": "proto"}


def read_tables():
    tables = {}
    exec(tree.read(TABLE), tables)  # of Starlark only what Python has too
    return tables


def unordered(layers):
    """The table's own faults: a folder is named before the line of what it sees."""
    seen = set()
    for folder, below in layers.items():
        for other in below:
            if other not in seen:
                yield f"{TABLE}: {folder} sees {other}, which has no line above it"
        seen.add(folder)


def holds(place, file):
    """A place is a folder, a folder/... with what is below it, or a module: a path without its .c or .h."""
    module, folder = os.path.splitext(file)[0], os.path.dirname(file)
    return place in (module, folder) or place.endswith("/...") and (folder + "/").startswith(place[:-3])


def findings(tables):
    layers, headers, sees = tables["LAYERS"], tables["HEADERS"], tables["sees"]
    yield from unordered(layers)
    arrows, places = set(), set()  # that are used
    for file in tree.files("*.c", "*.h"):
        folder = os.path.dirname(file)
        if not tree.is_program(file):
            continue
        if folder not in layers:
            yield f"{file}: its folder has no line in {TABLE}"
            continue
        text = tree.read(file)
        for match in INCLUDE.finditer(text):
            where = f"{file}:{text.count(chr(10), 0, match.start()) + 1}"
            included = match.group(2)
            if match.group(1) == "<":
                found = {(included, place) for place in headers.get(included, []) if holds(place, file)}
                if included in headers and not found:
                    yield f"{where}: {included} is not for {folder} ({TABLE})"
                places |= found
                continue
            seen = GENERATED.get(os.path.dirname(included), os.path.dirname(included))
            if seen != folder and not sees(folder, seen):
                yield f"{where}: {folder} doesn't see {seen or included} ({TABLE})"
            arrows |= {(folder, seen), (folder, seen.split("/")[0])}
    for folder, other in [(folder, other) for folder in layers for other in layers[folder]]:
        if (folder, other) not in arrows and not re.search(rf'"//{other}[:"]', tree.read(folder + "/BUILD")):
            yield f"{TABLE}: {folder} sees {other} and needs nothing of it"
    for header, place in [(header, place) for header in headers for place in headers[header]]:
        if (header, place) not in places:
            yield f"{TABLE}: {place} may include {header} and doesn't"


if __name__ == "__main__":
    tree.report(findings(read_tables()))
