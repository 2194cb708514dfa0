# SPDX-License-Identifier: Apache-2.0
"""The image's file system: the programs, the libraries that they load, the few files that a C program looks for, and the papers of
what is passed on with them."""
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import linked

TREE = Path(__file__).resolve().parents[2]
PROGRAMS = ["bazel-bin/control/agent/tabard-agent", "bazel-bin/proxy/tabard-proxy", "bazel-bin/control/ctl/tabardctl",
            "bazel-bin/control/policyd/tabard-policyd", "bazel-bin/certs/ca/tabard-ca"]
USER = 1337  # CONTRACT_PROXY_UID: the rules of interception let this user's connections pass

FOLDERS = ["dev", "etc", "proc", "run", "sys", "usr/bin", "var"]
TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/usr/sbin/nologin\ntabard:x:{USER}:{USER}:tabard:/:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\ntabard:x:{USER}:\n",
}


@dataclass
class Entry:
    """One file, folder (no content) or symbolic link; `origin` is the file of this machine that it was made from."""
    mode: int
    content: bytes = None
    link: str = None
    origin: Path = None


def _stripped(program):
    """A program without its symbols and debugging information."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "--strip-all", "-o", stripped.name, str(program)], check=True)
        return Path(stripped.name).read_bytes()


def _place(library):
    """Where a library lies in the image: below usr, to which lib and lib64 lead, as in Debian."""
    path = library.parent.as_posix().lstrip("/") + "/" + library.name
    return path if path.startswith("usr/") else "usr/" + path


def entries(programs):
    """What is in the image, {path: Entry}, but for the folders that only hold others and what goes with Debian's packages."""
    found = {folder: Entry(0o755) for folder in FOLDERS}
    found["tmp"] = Entry(0o1777)
    for path, text in TEXTS.items():
        found[path] = Entry(0o644, text.encode())
    found["etc/os-release"] = Entry(0o644, Path("/etc/os-release").read_bytes())  # for scanners, as dpkg's entries
    found["usr/share/doc/tabard/LICENSE"] = Entry(0o644, (TREE / "LICENSE").read_bytes(), origin=TREE / "LICENSE")
    for program in programs:
        if not program.exists():
            raise SystemExit(f"image: {program} is not built; ./dev build builds it")
        found[f"usr/bin/{program.name}"] = Entry(0o755, _stripped(program), origin=program)
        for library in linked.libraries(program).values():
            found.setdefault(_place(library), Entry(0o755, library.read_bytes(), origin=library.resolve()))
    for link in ["lib", "lib64"]:
        if any(path.startswith(f"usr/{link}/") for path in found):
            found[link] = Entry(0o777, link=f"usr/{link}")
    return found


def add_papers(entries, shared, static, crypto_licence):
    """Puts in what belongs to each package of Debian's that the programs load or hold: its copyright file, which most licences ask
    whoever passes on the library to pass on too, and its entry of dpkg's; and the licence of BoringSSL, None: it came without.
    Returns {package's name: its paths in the image}."""
    paths = {path: shared[entry.origin] for path, entry in entries.items() if entry.origin in shared}
    of_package = {owner.name: {path for path, other in paths.items() if other == owner} for owner in paths.values() if owner}
    of_package[None] = {path for path, owner in paths.items() if owner is None}
    for owner in filter(None, [*shared.values(), *static.values()]):
        named, status = f"usr/share/doc/{owner.name}/copyright", f"var/lib/dpkg/status.d/{owner.name}"
        entries[named] = Entry(0o644, owner.copyright.read_bytes())
        entries[status] = Entry(0o644, owner.status())
        of_package.setdefault(owner.name, set()).update([named, status])
    if crypto_licence:
        entries["usr/share/doc/boringssl/copyright"] = Entry(0o644, crypto_licence.read_bytes())
    return of_package


def in_folders(entries):
    """The same with every folder above, in the order of the archive."""
    folders = {folder.as_posix(): Entry(0o755) for path in entries for folder in Path(path).parents[:-1]}
    return dict(sorted({**folders, **entries}.items()))
