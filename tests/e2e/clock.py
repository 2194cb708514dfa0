# SPDX-License-Identifier: Apache-2.0
"""Clocks of single programs that a test sets: the wall clock, and with it CLOCK_BOOTTIME when time is to pass.
tests/support/clock.c is preloaded into the program."""
import functools
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from mesh import is_sanitized

SOURCE = Path(__file__).resolve().parents[1] / "support" / "clock.c"


@functools.cache
def library():
    if is_sanitized():
        pytest.skip("clock.c can't be preloaded before a sanitizer's runtime")
    made = Path(tempfile.mkdtemp(prefix="tabard-clock-")) / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, SOURCE], check=True)
    made.parent.chmod(0o755)  # the proxy runs as another user
    return made


class Clock:
    """Give `prefix` to a program, and to a sidecar's agent and proxy each. Offsets count from the true time, in seconds."""

    def __init__(self, wall=0):
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-clock-"))
        self.folder.chmod(0o755)
        self.file = self.folder / "offsets"
        self.wall, self.boot = wall, 0
        self.file.write_bytes(struct.pack("qq", wall, 0))
        self.prefix = ["env", f"LD_PRELOAD={library()}", f"CLOCK_FILE={self.file}"]

    def _write(self):
        with open(self.file, "r+b") as file:
            file.write(struct.pack("qq", self.wall, self.boot))

    def set_wall(self, seconds):
        """Sets the wall clock alone, to `seconds` off what it would show undisturbed."""
        self.wall = self.boot + seconds
        self._write()

    def elapse(self, seconds):
        """Lets time pass on both clocks."""
        self.wall += seconds
        self.boot += seconds
        self._write()

    def close(self):
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
