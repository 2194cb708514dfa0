# SPDX-License-Identifier: Apache-2.0
"""No public name twice in the tree: a function or variable that isn't static, or a type, enumerator or macro of a header.

The programs share one namespace, so that any two modules can be linked into one program.
"""
import re

import tree

FUNCTION = re.compile(r"^(?!static\b|typedef\b|extern\b|struct [\w]+ \{|#)(?:[\w*]+[\s*]+)+?\*?(\w+)\((?:[^;{}]|\n)*?\)\s*^\{", re.M)
VARIABLE = re.compile(r"^(?!static\b|typedef\b|extern\b|return\b|#)(?:[\w*]+[ *]+)+(\w+)(?:\[[^\]\n]*\])*(?: =|;)", re.M)
TYPE = re.compile(r"^(?:typedef )?((?:struct|enum|union) \w+)\s*\{", re.M)
MACRO = re.compile(r"^#define (\w+)", re.M)
ENUMERATORS = re.compile(r"^enum[^{;]*\{(.*?)^\}", re.M | re.S)
ENUMERATOR = re.compile(r"^ +([A-Z]\w+)(?=,| =|$)", re.M)


def public_names(file, code):
    if file.endswith(".c"):
        yield from FUNCTION.findall(code)
        yield from VARIABLE.findall(code)
        return
    yield from TYPE.findall(code)
    for body in ENUMERATORS.findall(code):
        yield from ENUMERATOR.findall(body)
    undefined = set(re.findall(r"^#undef (\w+)", code, re.M))
    yield from (name for name in MACRO.findall(code) if name not in undefined)


def findings():
    homes = {}
    for file in tree.files("*.c", "*.h"):
        if not tree.is_program(file):
            continue
        for name in set(public_names(file, tree.split_comments(file, tree.read(file))[0])) - {"main", "_GNU_SOURCE"}:
            homes.setdefault(name, []).append(file)
    for name, places in sorted(homes.items()):
        if len(places) > 1:
            yield f"{name} is public in {' and '.join(places)}"


if __name__ == "__main__":
    tree.report(findings())
