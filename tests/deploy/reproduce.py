# SPDX-License-Identifier: Apache-2.0
"""Builds this tree a second time, in another folder and from nothing, and compares bit for bit with what is built here.

The second build shares nothing with the first: a copy of the sources at a path of another length, an output base of its own, no
cache, another home, umask, time zone and locale. `./dev reproduce` compares the programs, the image and what is said of it.
"""
import filecmp
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ["proxy/tabard-proxy", "control/agent/tabard-agent", "certs/ca/tabard-ca", "control/ctl/tabardctl",
            "control/policyd/tabard-policyd"]
BAZEL = ["--noshow_progress", "--ui_event_filters=-info,-debug", "--show_result=0"]


def copy_tree(place):
    """A clone of this checkout, with what is changed and not committed, so that git says the same of both."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, place], check=True)
    changed = subprocess.check_output(["git", "ls-files", "-z", "-m", "-o", "--exclude-standard"], cwd=ROOT, text=True)
    for name in filter(None, changed.split("\0")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name) if (ROOT / name).exists() else (place / name).unlink()


class Elsewhere:
    """The second build's folder. close() ends its Bazel and removes it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-elsewhere-", dir="/var/tmp"))
        self.tree = self.folder / "a path that is longer/tree".replace(" ", "-")
        (self.folder / "home").mkdir()
        home = Path(os.environ["HOME"])
        # cargo keeps what it fetched, and rustup which cargo to run, by the true home.
        self.environment = {**os.environ, "HOME": str(self.folder / "home"), "TZ": "Pacific/Chatham", "LC_ALL": "C.UTF-8",
                            "CARGO": os.environ.get("CARGO") or shutil.which("cargo", path=f"{os.environ['PATH']}:{home}/.cargo/bin") or "",
                            "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
                            "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup"))}
        copy_tree(self.tree)

    def bazel(self, *command):
        subprocess.run(["bazel", f"--output_base={self.folder / 'base'}", *command], cwd=self.tree, env=self.environment,
                       umask=0o077, check=True, stdin=subprocess.DEVNULL)

    def build(self, *targets):
        self.bazel("build", "--disk_cache=", *BAZEL, *targets)

    def run(self, *command):
        subprocess.run(command, cwd=self.tree, env=self.environment, umask=0o077, check=True)

    def close(self):
        self.bazel("shutdown")
        subprocess.run(["chmod", "-R", "u+w", self.folder], check=True)
        shutil.rmtree(self.folder)


def differing(one, other, files):
    """The files that aren't the same in both folders, or are missing from one."""
    return [file for file in files if not (Path(one, file).exists() and Path(other, file).exists()
                                           and filecmp.cmp(Path(one, file), Path(other, file), shallow=False))]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C, so that the folder goes
    elsewhere = Elsewhere()
    try:
        print(f"building again in {elsewhere.tree}, from nothing: about 5 minutes on 2 cores", flush=True)
        elsewhere.build(*("//" + program.replace("/tabard", ":tabard") for program in PROGRAMS))
        for tree in [ROOT, elsewhere.tree]:
            elsewhere.run("/usr/bin/python3", "-B", tree / "deploy/image/build.py", "--out", tree / "out/reproduce")
        files = [f"bazel-bin/{program}" for program in PROGRAMS]
        files += sorted(f"out/reproduce/{file.name}" for file in (ROOT / "out/reproduce").iterdir())
        found = differing(ROOT, elsewhere.tree, files)
    finally:
        elsewhere.close()
    for file in files:
        print(("DIFFERS " if file in found else "same    ") + file)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
