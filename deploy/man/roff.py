# SPDX-License-Identifier: Apache-2.0
"""Pages for man(1), in the macros of man(7)."""
import re

# What is bold in a sentence: flags, and what stands between `marks`.
BOLD = re.compile(r"(?<![\w-])(--[a-z][a-z-]*|`[^`]+`)")


def escaped(text):
    """Text that roff prints as it is, in ASCII: what is not becomes a name of groff_char(7)."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha")
    text = text.replace("~", "\\(ti").replace('"', "\\(dq")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)


def prose(text):
    """One paragraph's lines."""
    def part(found):
        return f"\\fB{escaped(found[0].strip('`'))}\\fR"
    at, made = 0, []
    for found in BOLD.finditer(text):
        made += [escaped(text[at:found.start()]), part(found)]
        at = found.end()
    line = "".join(made) + escaped(text[at:])
    return "\\&" + line if line.startswith(".") else line


class Page:
    """A page that grows."""

    def __init__(self, name, section, summary, version):
        self.lines = [f'.TH "{escaped(name)}" "{section}" "" "Tabard {escaped(version)}" "Tabard"', ".SH NAME",
                      f"{escaped(name)} \\- {prose(summary)}"]

    def heading(self, text):
        self.lines.append(f'.SH "{escaped(text)}"')

    def subheading(self, text):
        self.lines.append(f'.SS "{escaped(text)}"')

    def paragraph(self, text):
        self.lines += [".PP", prose(text)]

    def tagged(self, tag, *texts):
        """A word that stands out, and what it means in paragraphs."""
        self.lines += [".TP", f"\\fB{escaped(tag)}\\fR"]
        for number, text in enumerate(texts):
            self.lines += ([".IP"] if number else []) + [prose(text)]

    def literal(self, text):
        """Lines as they are."""
        self.lines += [".PP", ".nf", ".RS 4"] + ["\\&" + escaped(line) for line in text.splitlines()] + [".RE", ".fi"]

    def text(self):
        return ".\\\" Made by deploy/man/pages.py; a change by hand is lost.\n" + "\n".join(self.lines) + "\n"
