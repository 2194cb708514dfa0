# SPDX-License-Identifier: Apache-2.0
"""What a program is linked with, as the program itself shows: the libraries that it loads, and what was linked into it."""
import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What may be linked into a program, by the file that the compiler finds for the name.
ARCHIVES = ["libstdc++.a", "libgcc.a", "libgcc_eh.a", "libmicrohttpd.a"]
# What the compiler links into every program: what runs before main and after it.
STARTUP = ["Scrt1.o", "crti.o", "crtbeginS.o", "crtendS.o", "crtn.o"]
BORINGSSL = re.compile(rb"API (\d+) of (boring-sys (\d[\w.+-]*)|an installed prefix)\0")


@dataclass(frozen=True)
class BoringSSL:
    """What was linked of BoringSSL; `crate` is the version of the crate boring-sys, None where a prefix was named."""
    api: str
    crate: str


def boringssl(program):
    api, _, crate = BORINGSSL.search(program.read_bytes()).groups()
    return BoringSSL(api.decode(), crate and crate.decode())


def libraries(program):
    """{name that is asked for: file} of every library that the dynamic loader maps, and the loader itself."""
    said = subprocess.check_output(["ldd", str(program)], text=True)
    if "not found" in said:
        raise SystemExit(f"a library of {program} is missing here:\n{said}")
    return {Path(path).name: Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.M)}


def needed(file):
    """The names of the libraries that a program or a library itself asks for."""
    said = subprocess.check_output(["readelf", "--dynamic", "--wide", str(file)], text=True)
    return re.findall(r"\(NEEDED\).*\[(.+)\]", said)


def _symbols(file, kinds):
    said = subprocess.check_output(["nm", "--defined-only", "--format=posix", str(file)], text=True, stderr=subprocess.DEVNULL)
    return {words[0] for words in map(str.split, said.splitlines()) if len(words) > 1 and words[1] in kinds}


@functools.cache
def _file(name):
    """The file that the compiler finds for the name; None: there is none."""
    file = Path(subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip())
    return file.resolve() if file.is_absolute() else None


@functools.cache
def _public(file):
    return _symbols(file, "TDBR")  # weak ones are those that others may define too


def archives(program):
    """The archives of which functions were linked into a program, which must have its symbols, and the start-up files."""
    own = _symbols(program, "TtDdBbRr")
    if not own:
        raise SystemExit(f"{program} has no symbols, so nobody can say what was linked into it")
    found = [file for file in map(_file, ARCHIVES) if file and own & _public(file)]
    return found + [_file(name) for name in STARTUP if "_start" in own]
