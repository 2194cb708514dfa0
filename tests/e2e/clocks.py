# SPDX-License-Identifier: Apache-2.0
"""Wall clocks that are wrong, each of some programs alone: tests/support/shifted_clock.c, preloaded."""
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "support" / "shifted_clock.c"


@functools.cache
def library():
    compiler = shutil.which("cc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler (cc, clang): no clock can be shifted")
    made = Path(tempfile.mkdtemp(prefix="tabard-clock-")) / "shifted_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    os.chmod(made.parent, 0o755)
    return made


class Clock:
    """The wall clock of the programs that are started with its prefix."""

    def __init__(self, seconds=0):
        fd, self.path = tempfile.mkstemp(prefix="tabard-clock-")
        os.fchmod(fd, 0o644)
        os.close(fd)
        self.set(seconds)
        self.prefix = ["env", f"LD_PRELOAD={library()}", f"TABARD_TEST_CLOCK={self.path}"]

    def set(self, seconds):
        """By how much it is ahead of the test's own, from now on."""
        with open(self.path, "r+b") as file:
            file.write(struct.pack("=q", seconds))

    def close(self):
        os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
