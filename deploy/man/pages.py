# SPDX-License-Identifier: Apache-2.0
"""Writes a page for man(1) of each program, from what it says with --help, and of each file that people write, from the comments
in proto/: pages.py OUT PROGRAM... puts them into the folder OUT, by section, as man(1) looks for them."""
import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "proto"))
import help_text  # noqa: E402
import proto  # noqa: E402
import roff  # noqa: E402

PROGRAMS = {  # name: (section, what it is)
    "tabard-agent": (8, "holds the keys of a service's sidecar and runs its proxy"),
    "tabard-proxy": (8, "data plane of a service's sidecar"),
    "tabard-policyd": (8, "steers a fleet of sidecars"),
    "tabard-ca": (1, "certificate authority in a folder"),
    "tabardctl": (1, "asks, checks and sets up a sidecar"),
}
FILES = {  # name: (its description in proto, its message, what it is)
    "mesh.yaml": ("mesh", "MeshConfig", "configuration of a sidecar"),
    "fleet.yaml": ("fleet", "FleetConfig", "who there is in a fleet, and who may call whom"),
    "inject.yaml": ("inject", "InjectConfig", "how sidecars are put into pods"),
    "probes.yaml": ("probes", "Probes", "probes of an application that its sidecar asks for it"),
}
FLEET_EXAMPLE = re.compile(r"^cat > fleet.d/fleet/all.yaml <<'END'.*\n((?:.*\n)*?)END$", re.M)  # README's
PAGES = {**{name: section for name, (section, _) in PROGRAMS.items()}, **{name: 5 for name in FILES}}
KINDS = {"string": "text", "bytes": "bytes", "bool": "true or false", "uint32": "number", "uint64": "number"}


def version():
    return re.search(r'^#define TABARD_VERSION "(.*)"$', (proto.TREE / "base/version.h").read_text(), re.M)[1]


def example(name):
    """What README shows of a file, or None."""
    if name == "mesh.yaml":
        return (proto.TREE / "tests/demo/by_hand/api.yaml").read_text()
    return FLEET_EXAMPLE.search((proto.TREE / "README.md").read_text())[1] if name == "fleet.yaml" else None


def _see_also(page, name):
    page.heading("SEE ALSO")
    page.paragraph(", ".join(f"{other}({section})" for other, section in sorted(PAGES.items()) if other != name))


def _help(program, *command):
    done = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=True, timeout=30)
    return help_text.parsed(done.stdout)


def _is_flags(block):
    return not isinstance(block, str) and block[0][0].startswith("-")


def _blocks(page, blocks):
    for block in blocks:
        if isinstance(block, str):
            page.paragraph(block)
        else:
            for tag, meaning in block:
                page.tagged(tag, meaning)


def _commands(page, program, commands):
    """A section of each, as each says with its own --help."""
    page.heading("COMMANDS")
    for command, meaning in commands:
        said = _help(program, command)
        page.subheading(f"{program.name} {command}: {meaning}")
        page.literal("\n".join(said.usage))
        _blocks(page, said.blocks)
        if said.exit_status:
            page.paragraph("Exit status: " + said.exit_status)


def program_page(program):
    """The page of one of PROGRAMS, of which `program` is the path."""
    section, summary = PROGRAMS[program.name]
    page = roff.Page(program.name, section, summary, version())
    said = _help(program)
    commands = next((block for block in said.blocks if not isinstance(block, str) and not _is_flags(block)), [])
    page.heading("SYNOPSIS")
    page.literal("\n".join(said.usage))
    texts = [block for block in said.blocks if isinstance(block, str)]
    if texts:
        page.heading("DESCRIPTION")
        _blocks(page, texts)
    page.heading("OPTIONS")
    _blocks(page, [block for block in said.blocks if _is_flags(block)])
    if commands:
        _commands(page, program, commands)
    if said.exit_status:
        page.heading("EXIT STATUS")
        page.paragraph(said.exit_status)
    _see_also(page, program.name)
    return page.text()


def _kind(messages, field):
    if field.name in ("port", "ports") and field.kind == "uint32":
        what = "port or range"
    elif field.values:
        what = "one of " + ", ".join(field.values)
    else:
        what = KINDS.get(field.kind, field.kind.rpartition(".")[2])
    return f"list of {what}" if field.is_list and not field.values else ("list, each " if field.is_list else "") + what


def _reached(messages, name):
    """The messages of which a file is made: that one, then those of its fields, in the order in which a reader meets them."""
    found = [name]
    for one in found:
        found += [kind for kind in dict.fromkeys(field.kind for field in messages[one])
                  if kind in messages and kind not in found]
    return found


def file_page(name):
    """The page of one of FILES."""
    file, first, summary = FILES[name]
    messages = proto.compiled(f"tabard/v1/{file}.proto")
    page = roff.Page(name, 5, summary, version())
    page.heading("DESCRIPTION")
    page.paragraph(f"YAML, or JSON, by the fields below. A field that nobody knows, a key without a value and an empty list are "
                   f"refused: what is meant to be absent is left out. {messages[first].comment}".strip())
    for message in _reached(messages, first):
        if message != first:
            page.heading(message.rpartition(".")[2])
            if messages[message].comment:
                page.paragraph(messages[message].comment)
        else:
            page.heading("FIELDS")
        for field in messages[message]:
            values = [f"{value}: {comment}" for value, comment in field.values.items() if comment]
            page.tagged(f"{field.name}: {_kind(messages, field)}",
                        *[text for text in (field.kind_comment, field.comment, *values) if text])
    if example(name):
        page.heading("EXAMPLE")
        page.literal(example(name))
    _see_also(page, name)
    return page.text()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("program", type=Path, nargs="*")
    options = parser.parse_args()
    strange = [program.name for program in options.program if program.name not in PROGRAMS]
    if strange:
        parser.error(f"{', '.join(strange)}: no program of Tabard; there are {', '.join(PROGRAMS)}")
    made = {program.name: program_page(program.resolve()) for program in options.program} | {name: file_page(name) for name in FILES}
    for name, text in made.items():
        folder = options.out / f"man{PAGES[name]}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.{PAGES[name]}").write_text(text)


if __name__ == "__main__":
    main()
