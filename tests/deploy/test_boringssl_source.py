# SPDX-License-Identifier: Apache-2.0
"""Where BoringSSL comes from, and what is said where it can't come from there: each in one message that says what would be right."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mesh import ROOT, wait_until

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

    def fetch_anew(self, **environment):
        """As fetch, and not what an earlier test fetched by the same crate."""
        self.fetch(BORINGSSL_ROOT="/nonexistent")
        return self.fetch_again(**environment)

    def fetch_again(self, **environment):
        given = {"CARGO": CARGO, "BORINGSSL_ROOT": None, **environment}
        environment = {key: value for key, value in {**os.environ, **given}.items() if value is not None}
        done = self.bazel("query", "@boringssl//:source", "--noshow_progress", env=environment)
        return done.returncode == 0, re.sub(r"\s+", " ", done.stderr)

    def bazel(self, *command, env=None):
        return subprocess.run([BAZEL, f"--output_base={self.base}", *command], cwd=self.folder, env=env, capture_output=True, text=True,
                              timeout=300, stdin=subprocess.DEVNULL)

    def dev(self, *command, **environment):
        shutil.copy(ROOT / "dev", self.folder)
        rc = self.folder / ".bazelrc"
        rc.write_text(f"startup --output_base={self.base}\n")
        done = subprocess.run([self.folder / "dev", *command], env={**os.environ, **environment}, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        rc.unlink()
        return done

    def name_version(self, version):
        """Has Cargo.toml name another version of BoringSSL."""
        manifest = self.locked.with_name("Cargo.toml")
        manifest.write_text(re.sub('boring-sys = ".*"', f'boring-sys = "={version}"', manifest.read_text()))

    def source(self, name):
        """A file of BoringSSL's that is built."""
        return self.base / "external/boringssl/src" / name

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


def test_a_prefix_that_is_not_there_is_said_to_be_so(workspace, tmp_path):
    gone = tmp_path / "gone"
    refused(workspace, f"BORINGSSL_ROOT={gone} isn't there: name the prefix of an installed BoringSSL, or unset BORINGSSL_ROOT",
            BORINGSSL_ROOT=str(gone))


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
    done = workspace.dev("build", BORINGSSL_ROOT=str(tmp_path))
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


def crates(home):
    """What cargo keeps of the pinned crate in this CARGO_HOME."""
    return list(home.glob("registry/cache/*/boring-sys-*.crate"))


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_crate_that_changed_since_cargo_fetched_it_is_refused_until_it_is_removed(workspace, tmp_path):
    assert workspace.fetch_anew(CARGO_HOME=str(tmp_path))[0]
    [crate] = tmp_path.glob("registry/cache/*/boring-sys-*.crate")
    for source in tmp_path.glob("registry/src/*/boring-sys-*/deps/boringssl/ssl/ssl_lib.cc"):
        source.write_text("// ours")
    subprocess.run(["sh", "-ec", 'mkdir "$1"; cd "$1"; tar xzf "$2"; sed -i "\\$ a // ours" boring-sys-*/deps/boringssl/ssl/ssl_lib.cc; '
                    'tar czf "$2" boring-sys-*', "sh", tmp_path / "unpacked", crate], check=True)
    workspace.fetch(BORINGSSL_ROOT="/nonexistent")
    refused(workspace, f"{crate} has not the checksum that is pinned, ", "; nothing of it is used. Two ways are left: remove that file, so "
            "that cargo fetches it anew, or name the prefix", CARGO_HOME=str(tmp_path))
    assert not workspace.source("ssl/ssl_lib.cc").exists()
    crate.write_bytes(crate.read_bytes()[:100000])  # as a full disk leaves it
    shutil.rmtree(tmp_path / "registry/src")
    refused(workspace, f"{crate} has not the checksum that is pinned, ", "nothing of it is used", CARGO_HOME=str(tmp_path))
    crate.unlink()
    assert workspace.fetch_again(CARGO_HOME=str(tmp_path))[0]
    assert "// ours" not in workspace.source("ssl/ssl_lib.cc").read_text()


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_what_cargo_has_already_needs_no_network(workspace, tmp_path):
    assert workspace.fetch_anew(CARGO_HOME=str(tmp_path))[0]
    is_there, said = workspace.fetch_anew(CARGO_HOME=str(tmp_path), CARGO_NET_OFFLINE="true")
    assert is_there and workspace.source("ssl/ssl_lib.cc").exists(), said


@contextlib.contextmanager
def small_disk(place, megabytes):
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(not CARGO or os.geteuid() != 0, reason="cargo is missing, or not root, who alone can make a small disk")
@pytest.mark.parametrize("what, words", [("home", "the disk is full, so the crate boring-sys can't be fetched; nothing of it is used"),
                                         ("base", "could not be unpacked; nothing of it is used")])
def test_a_full_disk_is_named_and_with_room_the_next_run_is_whole(workspace, tmp_path, what, words):
    workspace.fetch(BORINGSSL_ROOT="/nonexistent")
    place = tmp_path / "home" if what == "home" else workspace.base / "external"
    with small_disk(place, 12):
        refused(workspace, words, "No space left on device", **{"CARGO_HOME": str(place)} if what == "home" else {})
    is_there, said = workspace.fetch()
    assert is_there and len(list(workspace.source(".").rglob("*.cc"))) > 300, said


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_run_that_was_killed_in_the_middle_leaves_nothing_to_the_next_one(workspace, tmp_path):
    slow = tmp_path / "cargo"  # it runs where the sources will be
    slow.write_text(f"#!/bin/sh\n[ $1 != fetch ] || {{ mkdir -p src deps/boringssl; touch src/old.cc deps/boringssl/old.cc half; "
                    f"exec sleep 100; }}\nexec {CARGO} \"$@\"\n")
    slow.chmod(0o755)
    with ThreadPoolExecutor() as pool:
        run = pool.submit(workspace.fetch_anew, CARGO=str(slow))
        wait_until("it is in the middle", (workspace.base / "external/boringssl/half").exists, 60)
        os.kill(int((workspace.base / "server/server.pid.txt").read_text()), signal.SIGKILL)
        assert not run.result()[0]
    is_there, said = workspace.fetch()
    assert is_there, said
    assert workspace.source("ssl/ssl_lib.cc").exists() and not workspace.source("old.cc").exists()


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
@pytest.mark.parametrize("version, words", [("5.2.0", "the crate boring-sys holds BoringSSL of API 41; Tabard needs API 43 or later"),
                                            ("4.19.0", "the crate boring-sys has no include/openssl/base.h where it is looked for")])
def test_an_older_crate_that_is_pinned_is_refused_and_changes_no_other_pin(workspace, version, words):
    workspace.fetch(BORINGSSL_ROOT="/nonexistent")
    before = workspace.locked.read_text().splitlines()
    workspace.name_version(version)
    done = workspace.dev("pin")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"./dev: {words}: pin a newer one in bazel/crates", done.stderr
    locked = workspace.locked.read_text().splitlines()
    assert locked[2] == "version = 3", "what the oldest cargo that is served can read"
    if version == "5.2.0":  # which asks for the same other crates
        changed = [line for line in locked if line not in before]
        assert len(locked) == len(before) and [line.split(" ")[0] for line in changed] == ["version", "checksum"], changed
        workspace.name_version(re.search('boring-sys = "=(.*)"', (ROOT / "bazel/crates/Cargo.toml").read_text()).group(1))
        workspace.dev("pin")
        assert workspace.locked.read_text().splitlines() == before


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_version_that_is_named_and_not_pinned_is_refused(workspace):
    workspace.fetch(BORINGSSL_ROOT="/nonexistent")
    workspace.name_version("5.3.0")
    is_there, said = workspace.fetch_again()
    assert not is_there and ("bazel/crates/Cargo.lock doesn't pin the crate boring-sys as bazel/crates/Cargo.toml names it; nothing of it is "
                             "used: ./dev pin writes the one by the other, or put both back") in said, said


@pytest.mark.skipif(not CARGO, reason="cargo is missing")
def test_a_lock_that_names_no_such_crate_is_refused(workspace):
    is_there, said = fetched_otherwise(workspace, 'name = "boring-sys"', 'name = "boring-sis"')
    assert not is_there
    assert "bazel/crates/Cargo.lock doesn't pin the crate boring-sys as bazel/crates/Cargo.toml names it; nothing of it is used" in said
