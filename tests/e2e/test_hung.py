# SPDX-License-Identifier: Apache-2.0
"""Proxies and agents that stand still, are out of memory, or don't belong together."""
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foreign import attempt
from mesh import PROGRAMS, WEB, Agent, exchange, wait_until
from pair import Pair, server_config

PING_S, SILENT_S, KILLED_S = 3, 10, 30  # SUPERVISE_PING_TICKS, _SILENT_TICKS and _SILENT_TICKS_MAX


def why_not_ready(agent):
    status, text = agent.http("health", "/healthz/ready")
    return text.strip() if status == 503 else ""


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_proxy_that_hangs_is_killed_and_one_that_stood_still_with_its_agent_is_not(keep, authority, service):
    """The one waits while the other is stopped for as long, as a freezer stops both, with a question unanswered."""
    hung = keep(Agent("payments", server_config(authority, service.address)))
    pair = keep(Pair(authority))
    frozen, frozen_pid = pair.server, pair.server.proxy_pid()
    pid, mark, frozen_mark = hung.proxy_pid(), hung.mark(), frozen.mark()
    with stopped(pid), pair.connect() as sock:
        assert exchange(sock, b"before") == b"before"
        with stopped(frozen_pid), stopped_once_it_has_asked(frozen):
            page = hung.metrics()
            assert page["tabard_proxy_answered"] == 0 and page["tabard_proxy_up"] == 1, "it has just been stopped"
            wait_until("it is not ready", lambda: why_not_ready(hung), SILENT_S + 10)
            assert "the proxy has not answered for" in why_not_ready(hung)
            assert hung.metric("tabard_proxy_up") == hung.metric("tabard_ready") == 0
            hung.wait_line(mark, msg="the proxy does not answer", pid=pid)
            hung.wait_line(mark, seconds=KILLED_S + 10, msg="the proxy is killed", pid=pid)
            hung.wait_line(mark, msg="snapshot in force")
        frozen.wait_line(frozen_mark, msg="the agent stood still")
        assert exchange(sock, b"after") == b"after"
    wait_until("it is ready again", lambda: not why_not_ready(hung))
    assert hung.metric("tabard_proxy_answered") == hung.metric("tabard_proxy_up") == 1
    assert "it hangs" in hung.lines(mark, msg="the proxy ended")[-1]["how"]
    assert attempt(hung.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) == b"hello"
    wait_until("it answers", lambda: frozen.metric("tabard_proxy_answered") == 1)
    assert frozen.proxy_pid() == frozen_pid and not frozen.lines(frozen_mark, msg="the proxy is killed")
    assert not why_not_ready(frozen)


@contextlib.contextmanager
def stopped_once_it_has_asked(agent):
    """Stops an agent that waits for its stopped proxy's sign of life: a few of its seconds are gone."""
    before = time.monotonic()
    wait_until("it has asked", lambda: time.monotonic() - before > PING_S + 1)
    with stopped(agent.process.pid):
        yield


def test_a_proxy_that_answers_again_is_ready_again(keep, authority, service):
    agent = keep(Agent("payments", server_config(authority, service.address)))
    pid, mark = agent.proxy_pid(), agent.mark()
    with stopped(pid):
        wait_until("it is not ready", lambda: why_not_ready(agent), SILENT_S + 10)
    agent.wait_line(mark, msg="the proxy answers again")
    assert not why_not_ready(agent) and agent.proxy_pid() == pid


def test_a_proxy_of_another_build_is_refused_in_words(keep, authority, service, tmp_path):
    """Another contract, or none, as an older program has it."""
    strange = tmp_path / "tabard-proxy"
    digest = (Path(PROGRAMS["tabard-proxy"]).resolve().parents[1] / "proto/contract_digest.h").read_text().split('"')[1]
    text = PROGRAMS["tabard-proxy"].read_bytes()
    assert text.count(digest.encode()) == 1
    strange.write_bytes(text.replace(digest.encode(), b"0123456789abcdef"))
    strange.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    agent = keep(Agent("payments", server_config(authority, service.address), start=False))
    agent.programs = dict(PROGRAMS, **{"tabard-proxy": strange})
    agent.start(wait=False)
    why = agent.wait_line(msg="the proxy is killed")["because"]
    assert "another build" in why and "0123456789abcdef" in why and digest in why and "from one build" in why
    wait_until("it says so once the proxy has ended", lambda: "another build" in why_not_ready(agent))
    shutil.copy(PROGRAMS["tabard-proxy"], tmp_path / "right")
    (tmp_path / "right").rename(strange)
    agent.wait_line(msg="snapshot in force", seconds=20)
    assert not why_not_ready(agent)


MEMORY = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]  # version 1, version 2


@contextlib.contextmanager
def memory_group(num_bytes):
    """A control group with a limit; yields its file of members."""
    root = next((path for path in MEMORY if (path / "cgroup.procs").exists()), None)
    if os.geteuid() != 0 or root is None or not os.access(root, os.W_OK):
        pytest.skip("needs root and a control group that limits memory")
    folder = root / f"tabard-test-{os.getpid()}"
    is_v1 = root == MEMORY[0]
    if not is_v1:
        (root / "cgroup.subtree_control").write_text("+memory")
    folder.mkdir()
    try:
        (folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(num_bytes))
        yield folder / "cgroup.procs"
    finally:
        wait_until("the group is empty", lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def test_a_proxy_that_the_kernel_killed_for_want_of_memory_is_told_as_such(authority, service):
    with memory_group(200 << 20) as members, contextlib.ExitStack() as stack:
        prefix = ["sh", "-c", f'echo $$ > {members}; exec "$@"', "sh"]
        agent = Agent("payments", server_config(authority, service.address), prefix=prefix)
        stack.callback(agent.close)
        mark = agent.mark()
        Path(f"/proc/{agent.proxy_pid()}/oom_score_adj").write_text("1000")
        subprocess.run([*prefix, sys.executable, "-c", "x = bytearray(400 << 20)"], check=False)
        assert "out of memory" in agent.wait_line(mark, msg="the proxy ended")["how"]
        agent.wait_line(mark, msg="snapshot in force")
        assert not why_not_ready(agent)
