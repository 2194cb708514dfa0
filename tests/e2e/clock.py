# SPDX-License-Identifier: Apache-2.0
"""Clocks of a program that a test sets: the wall clock, and with it CLOCK_BOOTTIME when time is to pass."""
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from mesh import is_sanitized

HERE = Path(__file__).resolve().parent


class Clock:
    """Give `prefix` to a program. Offsets count from the true time, in seconds."""

    def __init__(self, wall=0):
        if is_sanitized():
            pytest.skip("clock.c can't be preloaded before a sanitizer's runtime")
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-clock-"))
        library = self.folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, HERE / "clock.c"], check=True)
        self.file = self.folder / "offsets"
        self.wall, self.boot = wall, 0
        self.file.write_bytes(struct.pack("qq", wall, 0))
        self.folder.chmod(0o755)  # the proxy runs as another user
        self.prefix = ["env", f"LD_PRELOAD={library}", f"CLOCK_FILE={self.file}"]

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
