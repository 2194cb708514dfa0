# SPDX-License-Identifier: Apache-2.0
"""Signals as parents leave them and as managers send them: to one process, or to all of a service's at once."""
import os
import signal

import pytest

from mesh import Agent, exchange
from pair import Pair, server_config


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2"])
def test_a_signal_to_the_whole_process_group_ends_nothing(keep, authority, name):
    pair = keep(Pair(authority))
    with pair.connect() as sock:
        assert exchange(sock, b"before") == b"before"
        proxy = pair.server.proxy_pid()
        os.killpg(pair.server.process.pid, signal.Signals["SIG" + name])
        # Whoever died of it would have by the time at which a new call is answered.
        with pair.connect() as other:
            assert exchange(other, b"new") == b"new"
        assert exchange(sock, b"after") == b"after"
    assert pair.server.proxy_pid() == proxy
    assert pair.server.process.poll() is None


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_only_the_agent_says_when_the_proxy_drains(keep, authority, kind):
    pair = keep(Pair(authority))
    with pair.connect() as sock:
        assert exchange(sock, b"before") == b"before"
        proxy = pair.server.proxy_pid()
        os.kill(proxy, kind)
        with pair.connect() as other:
            assert exchange(other, b"new") == b"new"
        assert exchange(sock, b"after") == b"after"
    assert pair.server.proxy_pid() == proxy
    assert not pair.server.lines(program="tabard-proxy", msg="draining")


@pytest.mark.parametrize("how", ["--block-signal", "--ignore-signal"])
def test_a_parent_that_blocks_or_ignores_signals_leaves_nothing_deaf(keep, authority, service, how):
    """As programs do that start children from a runtime with a signal mask of its own (Java, Ruby, .NET)."""
    prefix = ["env", f"{how}=CHLD", f"{how}=TERM", f"{how}=HUP"]
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=prefix))
    mark = agent.mark()
    os.kill(agent.proxy_pid(), signal.SIGKILL)
    agent.wait_line(mark, msg="the proxy ended")
    agent.wait_line(mark, msg="snapshot in force")
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_line(mark, msg="reloading")
    assert agent.stop(seconds=10) == 0


