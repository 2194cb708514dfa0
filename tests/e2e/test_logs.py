# SPDX-License-Identifier: Apache-2.0
"""Readers of the log that pause, and disks that are full, hold nothing up."""
import contextlib
import fcntl
import os
import shutil
import subprocess

import pytest

from foreign import attempt
from mesh import API, PROGRAMS, WEB, Agent, fields, split_address, wait_until
from pair import server_config

NUM_CALLS = 40  # each leaves a line: more than a page, or what is left of a full disk, holds
NUM_CALLS_ANOTHERS = 300  # more than the pages of a pipe that the programs made as large as they may
USER = "12345"


def into(path, *command):
    """A prefix that makes `path`, opened before `command` is run, the standard error of the programs."""
    return ["sh", "-c", f'exec "$@" 2>>{path}', "sh", *command]


def listener(agent):
    return wait_until("it listens", lambda: split_address(agent.status().get("listeners", [{"address": ":0"}])[0]["address"]))


def read_now(fd):
    """What a pipe holds now."""
    text = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(fd, 1 << 16):
            text += part
    return text


@pytest.mark.parametrize("user", ["root", "another"])
def test_a_log_that_nobody_reads_holds_up_no_connection(keep, authority, service, tmp_path, user):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    fifo = tmp_path / "log"
    os.mkfifo(fifo, 0o600)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)  # so that the FIFO is never without a reader
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    other = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"] if user == "another" else []
    certificate, web = authority.issue("api", API), authority.issue("web", WEB)
    agent = keep(Agent("payments", server_config(authority, service.address, certificate=certificate),
                       prefix=into(fifo, *other), start=False))
    if other:
        for path in (agent.folder, certificate.key):
            os.chown(path, int(USER), int(USER))
        for path in (authority.folder, authority.ca):
            path.chmod(0o755)
        # Where the build leaves its programs is no place for other users.
        agent.programs = {name: shutil.copy(path, agent.folder) for name, path in PROGRAMS.items()}
    agent.start(wait=False)
    wait_until("it is ready", lambda: (agent.folder / "admin.sock").exists() and agent.status().get("ready"))
    address = listener(agent)
    assert all(attempt(address, authority, web) == b"hello" for _ in range(NUM_CALLS_ANOTHERS if other else NUM_CALLS))
    text = read_now(reader).decode()
    assert attempt(address, authority, web) == b"hello"
    wait_until("the loss is told", lambda: b"log_dropped=" in read_now(reader))
    agent.address = lambda what: next(split_address(line["address"]) for line in map(fields, text.splitlines())
                                      if line.get("what") == what)
    assert agent.metric("tabard_proxy_log_lines_dropped_total") > 0
    os.close(reader)


def test_a_log_on_a_full_disk_holds_nothing_up_and_leaves_no_line_glued_to_another(keep, authority, service, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a small file system")
    web = authority.issue("web", WEB)
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=into(tmp_path / "log"), start=False))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        agent.start(wait=False)
        wait_until("it is ready", lambda: (agent.folder / "admin.sock").exists() and agent.status().get("ready"))
        address = listener(agent)
        with open(tmp_path / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 512)
        assert all(attempt(address, authority, web) == b"hello" for _ in range(NUM_CALLS))
        os.unlink(tmp_path / "filler")
        assert attempt(address, authority, web) == b"hello"
        wait_until("the loss is told", lambda: "log_dropped=" in (tmp_path / "log").read_text())
        text = (tmp_path / "log").read_text()
        assert all(line.startswith("time=") and line.count("level=") == 1 for line in text.splitlines() if line), text
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
