# SPDX-License-Identifier: Apache-2.0
"""Where BoringSSL comes from, and what is said where it can't come from there: each in one message that says what would be right."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mesh import ROOT

BAZEL = shutil.which("bazel")
CARGO = os.environ.get("CARGO") or shutil.which("cargo", path=f"{os.environ['PATH']}:{Path.home()}/.cargo/bin")
pytestmark = pytest.mark.skipif(not BAZEL, reason="bazel is missing (apt-get install bazel-bootstrap)")


class Workspace:
    """What of this tree makes @boringssl, in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.base = folder / "tree", folder / "base"
        self.locked = self.folder / "bazel/crates/Cargo.lock"
        self.folder.mkdir()

    def fetch(self, **environment):
        """What is said while @boringssl is made with these variables (None: not set), and whether it is there then."""
        shutil.rmtree(self.folder / "bazel", ignore_errors=True)
        shutil.copytree(ROOT / "bazel", self.folder / "bazel")
        shutil.copy(ROOT / "WORKSPACE", self.folder)
        return self.fetch_again(**environment)

    def fetch_again(self, **environment):
        given = {"CARGO": CARGO, "BORINGSSL_ROOT": None, **environment}
        environment = {key: value for key, value in {**os.environ, **given}.items() if value is not None}
        done = self.bazel("query", "@boringssl//:source", "--noshow_progress", env=environment)
        return done.returncode == 0, re.sub(r"\s+", " ", done.stderr)

    def bazel(self, *command, env=None):
        return subprocess.run([BAZEL, f"--output_base={self.base}", *command], cwd=self.folder, env=env, capture_output=True, text=True,
                              timeout=300, stdin=subprocess.DEVNULL)

    def close(self):
        self.bazel("shutdown")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("boringssl"))
    yield workspace
    workspace.close()


def prefix(folder, api=44, missing=None):
    """The shape of an installed BoringSSL."""
    texts = {"include/openssl/base.h": f"#define BORINGSSL_API_VERSION {api}\n", "include/openssl/ssl.h": "", "lib/libssl.a": "",
             "lib/libcrypto.a": ""}
    for name, text in texts.items():
        if not (missing and name.startswith(missing)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return str(folder)


def refused(workspace, *words, **environment):
    is_there, said = workspace.fetch(**environment)
    assert not is_there
    for word in words:
        assert word in said, said


def test_without_cargo_both_ways_that_are_left_are_named(workspace, tmp_path):
    for program in [*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()]:
        if program.name != "cargo" and not (tmp_path / program.name).is_symlink():
            (tmp_path / program.name).symlink_to(program)
    refused(workspace, "no cargo is in PATH to fetch the crate boring-sys. Two ways are left: install one (Debian 12: apt-get install "
            "cargo-web; Debian 13: apt-get install cargo), or name the prefix of an installed BoringSSL of API 43 or later with "
            "BORINGSSL_ROOT", CARGO=None, HOME=str(tmp_path), PATH=str(tmp_path))


def test_an_old_cargo_is_named_with_its_version(workspace, tmp_path):
    old = tmp_path / "cargo"
    old.write_text("#!/bin/sh\necho cargo 1.65.0\n")
    old.chmod(0o755)
    refused(workspace, f'{old} is "cargo 1.65.0"; 1.70 or later is needed to fetch the crate boring-sys. Two ways are left',
            CARGO=str(old))


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_cargo_that_reaches_no_registry_leaves_two_ways(workspace, tmp_path):
    refused(workspace, "cargo could not fetch the crate boring-sys as bazel/crates/Cargo.lock pins it; nothing of it is used.",
            "Two ways are left: let cargo reach its registry", "or name the prefix of an installed BoringSSL of API 43 or later",
            CARGO_NET_OFFLINE="true", CARGO_HOME=str(tmp_path))


@pytest.mark.parametrize("api", [17, 42])
def test_a_prefix_of_an_old_api_is_refused_with_its_number(workspace, tmp_path, api):
    refused(workspace, f"BORINGSSL_ROOT={tmp_path} holds BoringSSL of API {api}; Tabard needs API 43 or later",
            BORINGSSL_ROOT=prefix(tmp_path, api=api))


@pytest.mark.parametrize("missing", ["include/openssl/base.h", "include/openssl/ssl.h", "lib/libssl.a", "lib/libcrypto.a", "include"])
def test_a_prefix_that_lacks_something_is_refused_by_its_name(workspace, tmp_path, missing):
    first = "include/openssl/base.h" if missing == "include" else missing
    refused(workspace, f"BORINGSSL_ROOT={tmp_path} has no {first}: name the prefix of an installed BoringSSL, or unset BORINGSSL_ROOT",
            BORINGSSL_ROOT=prefix(tmp_path, missing=missing))


def test_headers_of_another_library_are_no_prefix(workspace, tmp_path):
    made = prefix(tmp_path)
    (tmp_path / "include/openssl/base.h").write_text("#define OPENSSL_VERSION_NUMBER 3\n")
    refused(workspace, f"BORINGSSL_ROOT={tmp_path}", "names no BORINGSSL_API_VERSION, so it is not BoringSSL's", BORINGSSL_ROOT=made)


def test_a_prefix_by_a_relative_path_is_refused(workspace):
    refused(workspace, "BORINGSSL_ROOT=some/prefix is no absolute path", BORINGSSL_ROOT="some/prefix")


def test_a_prefix_is_taken_and_named_as_one(workspace, tmp_path):
    is_there, said = workspace.fetch(BORINGSSL_ROOT=prefix(tmp_path, api=43))
    assert is_there, said
    header = workspace.base / "external/boringssl/source/boringssl_source.h"
    assert header.read_text() == '#define BORINGSSL_SOURCE "an installed prefix"\n'


def fetched_otherwise(workspace, old, new):
    """As fetch, with another text in Cargo.lock."""
    workspace.fetch(BORINGSSL_ROOT="/nonexistent")
    text = workspace.locked.read_text()
    assert old in text
    workspace.locked.write_text(text.replace(old, new))
    return workspace.fetch_again()


def test_dev_ends_with_the_reason_alone(workspace, tmp_path):
    workspace.fetch(BORINGSSL_ROOT=str(tmp_path))
    shutil.copy(ROOT / "dev", workspace.folder)
    (workspace.folder / ".bazelrc").write_text(f"startup --output_base={workspace.base}\n")
    done = subprocess.run([workspace.folder / "dev", "build"], env={**os.environ, "BORINGSSL_ROOT": str(tmp_path)},
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    (workspace.folder / ".bazelrc").unlink()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (f"./dev: BORINGSSL_ROOT={tmp_path} has no include/openssl/base.h: name the prefix of an "
                                            "installed BoringSSL, or unset BORINGSSL_ROOT"), done.stderr


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_crate_of_another_checksum_is_refused_by_its_name(workspace):
    checksum = re.search(r'name = "boring-sys"\n.*\n.*\nchecksum = "(\w+)"', (ROOT / "bazel/crates/Cargo.lock").read_text()).group(1)
    is_there, said = fetched_otherwise(workspace, checksum, checksum[::-1])
    assert not is_there
    assert "cargo could not fetch the crate boring-sys as bazel/crates/Cargo.lock pins it; nothing of it is used" in said
    assert "checksum for `boring-sys" in said or "failed to verify the checksum of `boring-sys" in said, said


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
@pytest.mark.parametrize("version, words", [("5.2.0", "the crate boring-sys holds BoringSSL of API 41; Tabard needs API 43 or later"),
                                            ("4.19.0", "the crate boring-sys has no include/openssl/base.h where it is looked for")])
def test_an_older_crate_that_is_pinned_is_refused(workspace, version, words):
    workspace.fetch(BORINGSSL_ROOT="/nonexistent")
    manifest = workspace.locked.with_name("Cargo.toml")
    manifest.write_text(re.sub('boring-sys = ".*"', f'boring-sys = "={version}"', manifest.read_text()))
    subprocess.run([CARGO, "update", "-q", "--manifest-path", manifest], check=True)
    assert workspace.locked.read_text().splitlines()[2] == "version = 3", "what the oldest cargo that is served can read"
    is_there, said = workspace.fetch_again()
    assert not is_there and f"{words}: pin a newer one in bazel/crates" in said, said


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_lock_that_names_no_such_crate_is_refused(workspace):
    is_there, said = fetched_otherwise(workspace, 'name = "boring-sys"', 'name = "boring-sis"')
    assert not is_there
    assert "cargo could not fetch the crate boring-sys as bazel/crates/Cargo.lock pins it" in said
