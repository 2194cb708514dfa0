# SPDX-License-Identifier: Apache-2.0
"""Writes compile_commands.json, which clangd reads, from the actions that Bazel would run. See ./dev compile-commands."""
import json
import os
import subprocess

QUERY = 'mnemonic("CppCompile", //...)'
GCC_ONLY = ("-fno-canonical-system-headers", "-Wunused-but-set-parameter", "-Wno-free-nonheap-object",
            "-Wno-format-truncation", "-fstack-clash-protection", "-Werror")


def bazel(*arguments):
    return subprocess.check_output(["bazel", *arguments], text=True, stderr=subprocess.DEVNULL)


def entry(arguments, root, external):
    """One action's entry: paths are those of the sources, and of the libraries where Bazel keeps them."""
    file = arguments[arguments.index("-c") + 1]
    kept = [external + argument[len("external"):] if argument.startswith("external/") else argument
            for argument in arguments if argument not in GCC_ONLY]
    return {"directory": root, "file": file, "arguments": kept}


root = os.getcwd()
actions = json.loads(bazel("aquery", "--output=jsonproto", QUERY)).get("actions", [])
external = bazel("info", "output_base").strip() + "/external"
entries = {}
for action in actions:
    made = entry(action["arguments"], root, external)
    if not made["file"].startswith("external/"):
        entries.setdefault(made["file"], made)
with open("compile_commands.json", "w") as out:
    json.dump(list(entries.values()), out, indent=1)
print(f"compile_commands.json: {len(entries)} files")
