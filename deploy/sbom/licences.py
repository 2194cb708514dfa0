# SPDX-License-Identifier: Apache-2.0
"""The licences of a Debian package as an SPDX expression, as far as its copyright file is machine-readable (DEP 5).

https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
"""
import re

FORMAT = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0"
# Debian's short names for what SPDX calls otherwise. A "+" at the end is "-or-later" and is not listed.
NAMES = {"expat": "MIT", "mit": "MIT", "x11": "X11", "isc": "ISC", "openssl": "OpenSSL", "apache-2.0": "Apache-2.0",
         "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "artistic": "Artistic-1.0-Perl", "mpl-1.1": "MPL-1.1",
         "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0"}
GNU = re.compile(r"(?:A?GPL|LGPL|GFDL)-(\d)(\.\d)?(\+?)", re.I)
# Of what has no machine-readable file, and is linked into the programs: the licence of these libraries, not of the compiler.
BY_SOURCE = re.compile(r"gcc-\d+")
BY_SOURCE_LICENCE = "GPL-3.0-or-later WITH GCC-exception-3.1"


def _one(name, package):
    """The SPDX identifier of one short name; one that SPDX has no name for becomes a LicenseRef."""
    gnu = GNU.fullmatch(name)
    if gnu:
        number = gnu.group(1) + (gnu.group(2) or ".0")
        return f"{name.split('-')[0].upper()}-{number}-{'or-later' if gnu.group(3) else 'only'}"
    known = NAMES.get(name.lower())
    return known or "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", f"{package}-{name}").strip("-")


def _expression(text, package):
    """A License field, such as "GPL-2+ or LGPL-3+"."""
    parts = re.split(r"\s+(or|and)\s+", text.strip())
    if len(parts) == 1:
        return _one(parts[0], package)
    return "(" + " ".join(part.upper() if at % 2 else _one(part, package) for at, part in enumerate(parts)) + ")"


def declared(text, package, source):
    """The licences of all of a source package's files, AND-ed; None where the copyright file says them only to people."""
    if BY_SOURCE.fullmatch(source):
        return BY_SOURCE_LICENCE
    if not text.startswith("Format:") or FORMAT not in text.split("\n")[0]:
        return None
    found = set()
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.lstrip("\n").startswith("Files:"):
            found |= {_expression(name, package) for name in re.findall(r"^License: *(.+)$", paragraph, re.M)}
    return " AND ".join(sorted(found)) or None
