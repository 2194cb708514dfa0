# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told, on a socket as systemd's, and what it is told in its unit files."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from mesh import ROOT, Agent, wait_until
from pair import server_config

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))


class Manager:
    """The end of a notify socket: messages, in order, as they came."""

    def __init__(self, address):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(10)
        self.messages = []

    def take(self, wanted, seconds=10):
        """The first message from now on that begins so; all that came before it stay in `messages`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(socket.timeout):
                self.messages.append(self.sock.recv(4096).decode())
                if self.messages[-1].startswith(wanted):
                    return self.messages[-1]
        raise AssertionError(f"no {wanted}: {self.messages}")

    def close(self):
        self.sock.close()


def environment(address, watchdog_ms=None):
    return ["env", f"NOTIFY_SOCKET={address}"] + ([f"WATCHDOG_USEC={watchdog_ms * 1000}"] if watchdog_ms else [])


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_service_manager_learns_of_a_sidecar_s_life(keep, authority, service, tmp_path, is_abstract):
    address = f"@tabard-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    manager = keep(Manager(address.replace("@", "\0")))
    agent = keep(Agent("payments", server_config(authority, service.address, drain_delay_seconds=1), start=False, prefix=environment(address)))
    agent.write_config("identity: {certificate: not-there.pem, key: not-there.key}\n")
    agent.start(wait=False)
    wait_until("the status says why", lambda: "trust_bundles: missing" in manager.take("STATUS=Not ready: "))
    mark = agent.mark()
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_line(mark, msg="reloading")
    agent.apply()
    manager.take("READY=1")
    assert not [text for text in manager.messages if text.startswith("RELOADING")], "it was not ready before"
    assert "Generation 1 is in force for spiffe://" in manager.take("STATUS=")
    mark = agent.mark()
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_line(mark, msg="reloading")
    assert "MONOTONIC_USEC=" in manager.take("RELOADING=1")
    manager.take("READY=1")
    agent.process.terminate()
    manager.take("STOPPING=1")
    assert "draining" in manager.take("STATUS=")
    assert agent.process.wait(timeout=10) == 0
    assert not [text for text in manager.messages if text.startswith("WATCHDOG")], "none was asked for"


def test_a_sidecar_gives_signs_of_life_while_its_loop_turns(keep, authority, service, tmp_path):
    manager = keep(Manager(str(tmp_path / "notify")))
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=environment(tmp_path / "notify", 400)))
    for _ in range(3):
        manager.take("WATCHDOG=1", 1)
    os.kill(agent.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(AssertionError):
            while True:  # what was sent before it stood still
                manager.sock.settimeout(0.8)
                manager.take("WATCHDOG=1", 0.8)
    finally:
        os.kill(agent.process.pid, signal.SIGCONT)
    manager.take("WATCHDOG=1", 2)


def test_the_proxy_is_told_nothing_of_the_service_manager(keep, authority, service, tmp_path):
    keep(Manager(str(tmp_path / "notify")))
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=environment(tmp_path / "notify", 400)))
    words = Path(f"/proc/{agent.proxy_pid()}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in words and b"WATCHDOG" not in words


def test_a_socket_that_is_gone_or_none_disturbs_nobody(keep, authority, service, tmp_path):
    for address in (tmp_path / "not-there", "relative", "@", "/" + "x" * 200):
        agent = keep(Agent("payments", server_config(authority, service.address), prefix=environment(address, 400)))
        wait_until("it is ready", lambda: agent.http("health", "/healthz/ready")[0] == 200)
        assert agent.stop(seconds=10) == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_the_unit_files_without_a_complaint(unit, tmp_path):
    # The programs need not be installed for it.
    text = unit.read_text()
    for name in ("tabard-agent", "tabard-policyd"):
        text = text.replace(f"/usr/local/bin/{name}", "/bin/true")
    made = tmp_path / unit.name
    made.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", made], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.strip() == "", done.stderr


def test_the_agent_s_unit_waits_for_longer_than_a_drain_takes():
    text = (ROOT / "deploy/systemd/tabard-agent.service").read_text()
    assert "TimeoutStopSec=30\n" in text and "KillMode=mixed\n" in text and "Type=notify\n" in text
