# SPDX-License-Identifier: Apache-2.0
"""What docs/metrics.md lists, and what a page of metrics shows, in the same form: {name: (type, label names)}. And what it says
of the versions of a program and its libraries, beside what the program says by --version."""
import re

from mesh import ROOT, run

ROW = re.compile(r"^\| `([a-z_0-9]+)` \| (\w+) \| ([\w, ]*)\|", re.M)
NAMES = {"BoringSSL": "boringssl", "libuv": "libuv", "protobuf-c": "protobuf_c", "nghttp2": "nghttp2"}
LABEL = re.compile(r'([a-zA-Z_0-9]+)="(?:[^"\\]|\\.)*"')


def listed(*programs):
    """The metrics under these headings."""
    sections = re.split(r"^## (.*)$", (ROOT / "docs/metrics.md").read_text(), flags=re.M)
    by_heading = dict(zip(sections[1::2], sections[2::2]))
    return {name: (kind, frozenset(labels.replace(",", " ").split()))
            for program in programs for name, kind, labels in ROW.findall(by_heading[program])}


def shown(text):
    """The families of a page, each with the labels of its samples, which all carry the same ones."""
    made = {}
    for family in re.split(r"^(?=# HELP )", text, flags=re.M)[1:]:
        name, kind = re.search(r"^# TYPE (\S+) (\S+)$", family, re.M).groups()
        samples = [line for line in family.splitlines() if not line.startswith("#")]
        labels = {frozenset(LABEL.findall(line)) - ({"le"} if kind == "histogram" else set()) for line in samples}
        assert len(labels) == 1 and name not in made, family
        assert all(re.match(name + r"(_sum|_count|_bucket)?[ {]", line) for line in samples), family
        made[name] = (kind, labels.pop())
    return made


def versions(program):
    """What a program says by --version, as the labels of its metric."""
    said = run(program, "--version").stdout
    own, libraries = re.fullmatch(rf"{program} (\S+) \((.*)\)\n", said).groups()
    return {"version": own, **{NAMES[name]: version for name, _, version in (part.partition(" ") for part in libraries.split(", "))}}


def build_info(page, name):
    """The labels of such a metric on a page of metrics."""
    return dict(re.findall(r'(\w+)="([^"]*)"', re.search(rf"^{name}\{{(.*)\}} 1$", page, re.M).group(1)))
