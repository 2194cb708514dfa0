# SPDX-License-Identifier: Apache-2.0
"""The bill of materials of programs, as CycloneDX 1.6: each program with its checksum, what was linked into it, the libraries that
it loads by Debian package, and which of them asks for which. The same programs give the same bytes.

https://cyclonedx.org/docs/1.6/json/
"""
import hashlib
import json
import re
import tomllib
import uuid
from pathlib import Path

import debian
import linked

TREE = Path(__file__).resolve().parents[2]
OWN_LICENCE = "Apache-2.0"


def version():
    return re.search(r'TABARD_VERSION "(.*)"', (TREE / "base/version.h").read_text()).group(1)


def sha256(content):
    return [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]


def _licences(expression):
    return {"licenses": [{"expression": expression}]} if expression else {}


def _linkage(kind):
    return {"properties": [{"name": "tabard:linkage", "value": kind}]}


def boringssl(found):
    """The components of what was linked of BoringSSL."""
    made = {"type": "library", "bom-ref": "boringssl", "name": "BoringSSL", "version": f"API {found.api}", **_licences(OWN_LICENCE),
            "supplier": {"name": "Google"}, "cpe": "cpe:2.3:a:google:boringssl:-:*:*:*:*:*:*:*", **_linkage("static")}
    if found.crate is None:
        made["description"] = "an installed prefix, which BORINGSSL_ROOT named"
        return [made]
    locked = tomllib.loads((TREE / "bazel/crates/Cargo.lock").read_text())["package"]
    crate = next(package for package in locked if (package["name"], package["version"]) == ("boring-sys", found.crate))
    purl = f"pkg:cargo/boring-sys@{found.crate}"
    made["purl"] = purl + "#deps/boringssl"
    return [made, {"type": "library", "bom-ref": purl, "name": "boring-sys", "version": found.crate, "purl": purl, **_licences("MIT"),
                   "hashes": [{"alg": "SHA-256", "content": crate["checksum"]}], "scope": "excluded",
                   "description": "the crate that BoringSSL's sources come in; nothing else of it is used"}]


def package(found, kind, files):
    """The component of a Debian package, with its files, {name: content}."""
    nested = [{"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": sha256(content)}
              for name, content in sorted(files.items())]
    return {"type": "library", "bom-ref": found.purl, "name": found.name, "version": found.version, "purl": found.purl,
            "supplier": {"name": "Debian"}, **_licences(found.licence()), **_linkage(kind), **({"components": nested} if nested else {})}


def _depend(programs, owners):
    """{bom-ref: those it depends on}, of the programs and of the packages of the libraries that they load."""
    depends = {}
    for program in programs:
        loaded = linked.libraries(program)
        inside = {"boringssl"} | {owners[file].purl for file in linked.archives(program)}
        depends.setdefault(f"program:{program.name}", set()).update(inside)
        for file, ref in [(program, f"program:{program.name}"), *((file, _ref(file, owners)) for file in loaded.values())]:
            asked = {_ref(loaded[name], owners) for name in linked.needed(file) if name in loaded}
            depends.setdefault(ref, set()).update(asked - {ref})
    return depends


def _ref(library, owners):
    """A library's package, or itself if it is of none."""
    owner = owners.get(library.resolve())
    return owner.purl if owner else f"file:{library}"


def materials(programs):
    """What a program of `programs` loads and holds: {library's file: Package}, and {archive's file: Package}."""
    loaded = {file.resolve() for program in programs for file in linked.libraries(program).values()}
    held = {file for program in programs for file in linked.archives(program)}
    owners = debian.packages(sorted(loaded | held))
    return {file: owners.get(file) for file in sorted(loaded)}, {file: owners[file] for file in sorted(held)}


def document(programs, contents, subject, files=None, created=None):
    """The document of `programs` (with their symbols). `contents` has the bytes of each that are passed on, by its name; `files`
    those of the libraries, {package's name: {path: content}}, None: those of this machine; `subject` is the component that all
    of it is."""
    shared, static = materials(programs)
    if files is None:
        files = {}
        for file, owner in shared.items():
            files.setdefault(owner.name if owner else None, {})[str(file)] = file.read_bytes()
    by_name = {owner.name: (owner, "static") for owner in static.values()}
    by_name.update({owner.name: (owner, "shared") for owner in shared.values() if owner})
    depends = _depend(programs, {file: owner for file, owner in {**shared, **static}.items() if owner})
    crypto = boringssl(linked.boringssl(programs[0]))
    components = [{"type": "application", "bom-ref": f"program:{program.name}", "name": program.name, "version": version(),
                   "hashes": sha256(contents[program.name]), **_licences(OWN_LICENCE)} for program in programs]
    components += crypto
    components += [package(owner, kind, files.get(owner.name, {})) for owner, kind in by_name.values()]
    components += [{"type": "library", "bom-ref": f"file:{path}", "name": Path(path).name, "hashes": sha256(content),
                    **_linkage("shared")} for path, content in files.get(None, {}).items()]
    depends["boringssl"] = {component["bom-ref"] for component in crypto[1:]}
    depends[subject["bom-ref"]] = {f"program:{program.name}" for program in programs}
    made = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": {**({"timestamp": created} if created else {}), "component": subject},
            "components": sorted(components, key=lambda component: component["bom-ref"]),
            "dependencies": [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(depends.items())]}
    made["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text(made))}"
    return made


def subject(kind, name, number):
    return {"type": kind, "bom-ref": "tabard", "name": name, "version": number, **_licences(OWN_LICENCE)}


def text(made):
    return json.dumps(made, indent=1, sort_keys=True) + "\n"
