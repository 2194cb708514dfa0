# SPDX-License-Identifier: Apache-2.0
"""Nothing of the time or the place of a build is in a program. ./dev reproduce builds all of it twice, which takes minutes."""
import os
import socket
import subprocess

import pytest

import root
from mesh import ROOT


def test_no_source_asks_the_compiler_for_the_time():
    done = subprocess.run(["git", "grep", "-nE", "__(DATE|TIME|TIMESTAMP)__", "--", "*.c", "*.h", "*.bzl", "*BUILD"], cwd=ROOT,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr


@pytest.mark.parametrize("program", root.PROGRAMS)
def test_a_program_names_no_folder_and_no_host_of_its_build(program):
    built = (ROOT / program).read_bytes()
    places = [str(ROOT), os.path.realpath(ROOT / "bazel-bin").split("/execroot/")[0], "linux-sandbox", "processwrapper-sandbox", "/execroot/"]
    assert [place for place in places if place.encode() in built] == []
    host = socket.gethostname()
    assert len(host) < 5 or host.encode() not in built, host
