# SPDX-License-Identifier: Apache-2.0
"""The bill of materials: what it names is what the linker took and what the loader loads, and its form is CycloneDX's."""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import build
import linked
import root
import write
from listed_metrics import versions
from mesh import ROOT

VALIDATOR = "cyclonedx-python-lib[json-validation]==11.12.0"
PROGRAMS = [ROOT / program for program in root.PROGRAMS]
VALIDATE = """
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL
text = sys.stdin.read()
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if found:
    sys.exit(str(found))
spdx = get_spdx_licensing()
for component in json.loads(text)["components"]:
    if "purl" in component:
        PackageURL.from_string(component["purl"])
    for licence in component.get("licenses", []):
        named = set(map(str, spdx.license_symbols(licence["expression"])))
        unknown = {str(name) for name in spdx.unknown_license_keys(licence["expression"])}
        if any(not name.startswith("LicenseRef-") for name in unknown) or not named:
            sys.exit(f"{component['name']}: {licence['expression']}: {unknown}")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    write.write(out, PROGRAMS)
    return out


@pytest.fixture(scope="module")
def listed(written):
    return json.loads(written.read_text())


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    out = tmp_path_factory.mktemp("image")
    build.build(out, "localhost/tabard:test")
    return out / "tabard.cdx.json"


@pytest.fixture(scope="module")
def validator():
    """Python's path to a validator from the registry."""
    folder = ROOT / "out/validator"
    if not (folder / "cyclonedx").exists():
        done = subprocess.run(["/usr/bin/python3", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--root-user-action=ignore",
                               "--target", folder, VALIDATOR], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            pytest.skip(f"the validator {VALIDATOR} can't be had: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def judged(validator, text):
    return subprocess.run(["/usr/bin/python3", "-c", VALIDATE], input=text, env=validator, capture_output=True, text=True)


def test_a_validator_of_others_accepts_both_and_refuses_what_is_wrong(validator, written, image):
    for file in [written, image]:
        done = judged(validator, file.read_text())
        assert done.returncode == 0, f"{file}: {done.stdout}{done.stderr}"
    text = written.read_text()
    for old, new in [('"type": "library"', '"type": "libary"'), ('"Apache-2.0"', '"Apache-2"'), ('"bomFormat"', '"bomForm"')]:
        assert old in text and judged(validator, text.replace(old, new, 1)).returncode != 0, new


def component(listed, ref):
    return next(found for found in listed["components"] if found["bom-ref"] == ref)


def below(listed, ref):
    """The components that another one depends on, by name."""
    depends = next(entry["dependsOn"] for entry in listed["dependencies"] if entry["ref"] == ref)
    return {component(listed, other)["name"]: component(listed, other) for other in depends}


def linker_says(program):
    """The archives and objects of the system that the linker takes, when a program is linked once more."""
    params = (program.parent / f"{program.name}-2.params").read_text().splitlines()
    execution_root = os.path.realpath(ROOT / "bazel-bin").split("/bazel-out/")[0]
    at = params.index("-o")
    # Debian 13's linker names what it takes out of an archive only when it is asked twice.
    done = subprocess.run(["gcc", *params[:at], *params[at + 2:], "-o", "/dev/null", "-Wl,--trace", "-Wl,--trace"], cwd=execution_root,
                          capture_output=True, text=True, check=True)
    found = re.finditer(r"^\(?((?:/\S+|\S+_without_tls)\.a)[()]|^(/\S+\.o)$", done.stdout + done.stderr, re.M)
    taken = {match.group(1) or match.group(2) for match in found}
    return {Path(file).name.replace("_without_tls", "") for file in taken}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_what_is_linked_in_is_what_the_linker_took(listed, program):
    held = linker_says(program)
    assert held == {file.name for file in linked.archives(program)}
    packages = subprocess.check_output(["dpkg-query", "--search", *(file for file in linked.archives(program))], text=True)
    named = {name for name, found in below(listed, f"program:{program.name}").items()
             if found["properties"] == [{"name": "tabard:linkage", "value": "static"}]}
    assert named == {line.split(":")[0] for line in packages.splitlines()} | {"BoringSSL"}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_what_a_program_asks_the_loader_for_is_what_it_depends_on(listed, program):
    said = subprocess.check_output(["objdump", "-p", program], text=True)
    asked = re.findall(r"NEEDED +(\S+)", said)  # libuv.so.1, which leads to libuv.so.1.0.0
    files = {Path(file["name"]).name for found in below(listed, f"program:{program.name}").values()
             for file in found.get("components", [])}
    assert asked and [name for name in asked if not any(file.startswith(name) for file in files)] == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_asks_the_loader_for_no_library_of_which_it_calls_nothing(program):
    said = subprocess.run(["ldd", "--unused", program], capture_output=True, text=True).stdout
    assert re.findall(r"^\s+(/\S+)", said, re.M) == [], said


def test_every_file_that_any_program_loads_is_in_it_with_its_checksum(listed):
    files = {file["name"]: file["hashes"][0]["content"] for found in listed["components"] for file in found.get("components", [])}
    loaded = {str(file.resolve()) for program in PROGRAMS for file in linked.libraries(program).values()}
    sums = subprocess.check_output(["sha256sum", *sorted(loaded)], text=True).splitlines()
    assert files == {file: checksum for checksum, file in map(str.split, sums)}


def test_boringssl_is_named_with_its_api_and_the_crate_by_the_checksum_that_is_pinned(listed):
    found = linked.boringssl(PROGRAMS[0])
    assert component(listed, "boringssl")["version"] == f"API {found.api}"
    if found.crate is None:
        pytest.skip("BORINGSSL_ROOT names a prefix, which is no crate")
    locked = (ROOT / "bazel/crates/Cargo.lock").read_text()
    pinned = re.search(r'name = "boring-sys"\nversion = "(.*)"\n.*\nchecksum = "(.*)"', locked).groups()
    crate = below(listed, "boringssl")["boring-sys"]
    assert (crate["version"], crate["hashes"][0]["content"]) == pinned


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_versions_are_those_that_the_program_says_itself(listed, program):
    held = below(listed, f"program:{program.name}")
    crate = below(listed, "boringssl").get("boring-sys")
    source = f"boring-sys {crate['version']}" if crate else "an installed prefix"
    named = {"version": component(listed, f"program:{program.name}")["version"], "boringssl": f"{held['BoringSSL']['version']} of {source}"}
    for label, package in {"libuv": "libuv1", "protobuf_c": "libprotobuf-c1", "nghttp2": "libnghttp2-14"}.items():
        found = [held[name] for name in held if name in (package, f"{package}t64")]
        named.update({label: re.match(r"(?:\d+:)?([0-9.]+)", one["version"]).group(1) for one in found})
    assert versions(program.name) == named


def test_it_is_the_same_bytes_each_time(written, tmp_path):
    write.write(tmp_path / "again.json", PROGRAMS)
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()
