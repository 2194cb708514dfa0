# SPDX-License-Identifier: Apache-2.0
"""What the checks of ./dev lint share: the tracked files, C text without its comments, and how a finding is said."""
import os
import re
import subprocess
import sys

PROGRAMS = ("base", "certs", "control", "net", "proto", "proxy")  # the folders of program code

_C = re.compile(r'//(?:[^\n\\]|\\.)*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
_HASH = re.compile(r"(?<![^\s])#[^\n]*")


def files(*patterns):
    """The tracked files that match any of git's patterns, all without one; those removed by hand are left out."""
    listed = subprocess.check_output(["git", "ls-files", "-z", *patterns], text=True)
    missing = subprocess.check_output(["git", "ls-files", "-z", "--deleted"], text=True)
    return sorted(set(listed.split("\0")) - set(missing.split("\0")) - {""})


def read(file):
    with open(file, encoding="utf-8", errors="replace") as opened:
        return opened.read()


def boringssl():
    """Where Bazel keeps @boringssl, whose headers are in include/, of a prefix, or in src/include/."""
    return os.path.realpath("bazel-bin").split("/execroot/")[0] + "/external/boringssl"  # it is .../execroot/tabard/.../bin


def is_program(file):
    return file.split("/")[0] in PROGRAMS


def is_c(file):
    return file.endswith((".c", ".h", ".proto"))


def split_comments(file, text):
    """A source's code and comments as two texts of the same lines; each has blanks where the other one stands."""
    code, comments, at = [], [], 0

    def blank(piece):
        return re.sub(r"[^\n]", " ", piece)

    for match in (_C if is_c(file) else _HASH).finditer(text):
        if match.group().startswith(("//", "/*", "#")):
            before, comment = text[at:match.start()], match.group()
            code += [before, blank(comment)]
            comments += [blank(before), comment]
            at = match.end()
    return "".join(code) + text[at:], "".join(comments) + blank(text[at:])


def report(findings):
    """Ends the check: a line for each finding; exit 1 if there was any."""
    found = list(findings)
    for finding in found:
        print("lint: " + finding)
    sys.exit(1 if found else 0)
