# SPDX-License-Identifier: Apache-2.0
"""What a program says of itself with --help, taken apart: the one source of its page.

The form is that of all of Tabard's programs: lines that begin with "usage:", then paragraphs, and between them tables of which a
line begins with two blanks and a flag, or a command, and goes on with what it means, which may go on below.
"""
import re
import textwrap
from dataclasses import dataclass

ROW = re.compile(r"  (\S(?:\S| (?! ))*)(?:  +(\S.*))?$")
STATUS = "Exit status: "


@dataclass
class Help:
    usage: list       # lines, without "usage:"
    blocks: list      # in their order: a paragraph, or a table as a list of (flag or command, its meaning)
    exit_status: str  # the sentence about it, or ""


def _blocks(lines):
    """The parts between empty lines."""
    block = []
    for line in [*lines, ""]:
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


def _table(lines):
    rows = []
    for line in lines:
        row = ROW.match(line)
        if row and not line.startswith("   "):
            rows.append([row[1], row[2] or ""])
        elif line.startswith("   ") and rows:
            rows[-1][1] += " " + line.strip()
        else:
            raise ValueError(f"a line of a table of --help that is no row: {line!r}")
    return [tuple(row) for row in rows]


def parsed(text):
    """ValueError names the line that has another form."""
    first, *blocks = _blocks(text.splitlines())
    if not first[0].startswith("usage: "):
        raise ValueError(f"--help begins with {first[0]!r}, not with usage:")
    usage = textwrap.dedent("\n".join(["       " + first[0].removeprefix("usage: "), *first[1:]])).splitlines()
    made, status = [], ""
    for block in blocks:
        if block[0].startswith("  "):
            made.append(_table(block))
            continue
        paragraph = " ".join(block)
        before, mark, after = paragraph.partition(STATUS)
        if mark:
            paragraph, status = before.strip(), after
        if paragraph:
            made.append(paragraph)
    return Help(usage, made, status)
