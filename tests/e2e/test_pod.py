# SPDX-License-Identifier: Apache-2.0
"""The agent as the first process of a container: its rights, its children, and its end after the service's own."""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from foreign import attempt, tls
from mesh import PROGRAMS, WEB, Agent, connect, exchange, run, wait_until
from pair import Pair, server_config
from test_lifecycle import is_gone, refuses

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: PID and mount namespaces are made")

# A container's: user 1337, no capability, nothing to gain by exec, a file system on which only FOLDER can be written to.
CONTAINER = """set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro /
folder=$1; shift
exec setpriv --reuid 1337 --regid 1337 --clear-groups --no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$@"
"""


class Contained(Agent):
    """An agent that is PID 1 of its own namespace and has the rights of a container."""

    def start(self, wait=True):
        os.chown(self.folder, 1337, 1337)
        self.programs = {name: self.folder / name for name in ("tabard-agent", "tabard-proxy")}
        for name, path in self.programs.items():  # where user 1337 may read them
            shutil.copy(PROGRAMS[name], path)
        self.prefix = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", CONTAINER, "sh",
                       str(self.folder)]
        super().start(wait)

    @property
    def pid(self):
        """Of the agent, seen from outside."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return int(file.read())

    def children(self):
        """{name: state} of all that the agent has not waited for."""
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/children") as file:
                for child in file.read().split():
                    with contextlib.suppress(OSError), open(f"/proc/{child}/stat") as stat:
                        found.append(tuple(stat.read().split()[1:3]))
        return found

    def stop(self, seconds=20):
        """As the kubelet: SIGTERM to the first process of the container."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(seconds)


def facts_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


@pytest.fixture
def contained(keep, authority, service):
    """payments' sidecar, with the files that it needs in its own folder."""
    agent = keep(Contained("payments", server_config(authority, service.address), start=False))
    files = agent.config["identity"], agent.config["trust_bundles"][0]
    for where, key in ((files[0], "certificate"), (files[0], "key"), (files[1], "roots")):
        copy = agent.folder / key
        shutil.copyfile(where[key], copy)
        os.chown(copy, 1337, 1337)
        where[key] = key
    agent.write_config()
    agent.start()
    return agent


@needs_root
def test_a_container_s_rights_are_enough_and_the_proxy_has_no_more(contained, authority):
    assert attempt(contained.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) == b"hello"
    proxy = next(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_proxy_of(pid, contained.pid))
    for pid in (contained.pid, proxy):
        facts = facts_of(pid)
        assert facts["Uid"].split() == ["1337"] * 4 and facts["NoNewPrivs"] == "1", facts
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == int(facts["CapBnd"], 16) == 0, facts
    status = run("tabardctl", "status", "--admin", contained.folder / "admin.sock").stdout
    assert status.startswith("ready\n")
    assert contained.http("health", "/healthz/ready")[0] == contained.http("health", "/healthz/live")[0] == 200
    assert contained.stop() == 0
    assert is_gone(proxy)


def is_proxy_of(pid, agent):
    try:
        facts = facts_of(pid)
    except OSError:
        return False
    return facts.get("Name") == "tabard-proxy" and facts.get("PPid") == str(agent)


@needs_root
def test_the_first_process_waits_for_the_children_of_others(contained):
    """What is run in the container, and ends before its own children, leaves them to the agent."""
    for _ in range(5):
        subprocess.run(["nsenter", "-t", str(contained.pid), "-p", "-m", "sh", "-c", "(sleep 0.05 &); exit 0"], check=True)
    wait_until("only the proxy is left", lambda: contained.children() == [("(tabard-proxy)", "S")])
    os.kill(next(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_proxy_of(pid, contained.pid)), signal.SIGKILL)
    wait_until("the proxy is started again", lambda: contained.metric("tabard_proxy_restarts_total") == 1)
    assert contained.stop() == 0


@needs_root
def test_the_first_process_ends_by_itself_on_sigterm_also_before_it_has_a_configuration(keep, authority, service):
    agent = keep(Contained("payments", server_config(authority, service.address), start=False))
    agent.write_config("{}\n")
    agent.start(wait=False)
    agent.wait_line(msg="proxy started")
    began = time.monotonic()
    assert agent.stop(seconds=5) == 0
    assert time.monotonic() - began < 3


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: capabilities are taken from it")
@pytest.mark.parametrize("missing, arguments", [("setgid", ()), ("setuid", ()), ("net_raw", ("--caller-addresses",))])
def test_a_root_without_a_capability_learns_which_the_proxy_lacks(keep, authority, service, missing, arguments):
    agent = keep(Agent("payments", server_config(authority, service.address), arguments=arguments, start=False,
                       prefix=["setpriv", f"--bounding-set=-{missing}", f"--inh-caps=-{missing}"]))
    agent.start(wait=False)
    line = agent.wait_line(msg="the proxy cannot start")
    assert f"the capability CAP_{missing.upper()} is missing" in line["error"]


# In a pod SIGTERM comes once the service's own containers have ended.

class Program:
    """A service in a process of its own, which can end: it answers a line with `size` bytes."""

    CODE = """
import socket, sys, threading
size = int(sys.argv[1])
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
def serve(sock):
    while line := sock.recv(100):
        sock.sendall(b"x" * size)
        if line == b"last": sys.stdout.flush(); import os; os._exit(0)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""

    def __init__(self, size):
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE, str(size)], stdout=subprocess.PIPE, text=True)
        self.address = "127.0.0.1", int(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def receive(sock, size):
    got = 0
    while got < size and (data := sock.recv(1 << 20)):
        got += len(data)
    return got


@pytest.fixture
def program(keep):
    return lambda size: keep(Program(size))


def test_a_peer_that_takes_no_notice_of_the_service_s_end_does_not_hold_up_the_sidecar_s(keep, authority, program):
    """As the idle connection of a pool, whose client looks at it only when it needs one."""
    made = program(1)
    server = keep(Agent("payments", server_config(authority, made.address, drain_seconds=20)))
    with tls(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) as idle:
        idle.sendall(b"?")
        assert idle.recv(1) == b"x"
        made.process.kill()
        made.process.wait()
        began = time.monotonic()
        assert server.stop(seconds=15) == 0
        assert time.monotonic() - began < 8
        line = server.lines(msg="conn")[-1]
        assert (line["reason"], line["detail"]) == ("finished", "the service has ended, and its peer takes no notice")


def test_a_response_that_the_service_left_behind_is_delivered_whole(keep, authority, program):
    """The service answers and ends at once; its peer reads slowly, and SIGTERM is there before the last byte."""
    size = 3 << 20
    made = program(size)
    server = keep(Agent("payments", server_config(authority, made.address, drain_seconds=20)))
    with tls(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) as slow:
        slow.sendall(b"last")
        first = receive(slow, 1000)
        made.process.wait(timeout=20)
        server.process.send_signal(signal.SIGTERM)
        server.wait_line(msg="draining", program="tabard-proxy")
        assert first + receive(slow, size - first) == size
        assert slow.recv(1) == b"", "a clean end"
        with contextlib.suppress(OSError):
            slow.unwrap()
    assert server.process.wait(timeout=10) == 0
    assert server.lines(msg="conn")[-1]["reason"] == "finished"


def test_without_a_connection_the_end_comes_at_once_whatever_drain_seconds_says(keep, authority):
    pair = keep(Pair(authority, server_settings={"drain_seconds": 60}, client_settings={"drain_seconds": 60}))
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
    for agent in pair.agents():
        began = time.monotonic()
        assert agent.stop(seconds=10) == 0
        assert time.monotonic() - began < 3


def test_while_inbound_requests_are_finished_the_service_may_still_call_others(keep, authority, service):
    """On a host, where SIGTERM may come to service and sidecar at the same time."""
    pair = keep(Pair(authority))
    both = pair.server.config
    other = keep(Agent("other", server_config(authority, service.address)))
    both["forwards"] = [{"listen": "127.0.0.1:0", "destination": "127.0.0.1:%d" % other.address("127.0.0.1:0")[1]}]
    both["destinations"] = [{"name": "other", "addresses": ["127.0.0.1"], "mode": "MTLS", "identities": ["spiffe://demo.example"]}]
    both["inbound_ports"][0]["listen"] = "127.0.0.2:0"
    both["settings"]["drain_seconds"] = 20
    other.config["policies"] = [{"name": "all", "action": "ALLOW", "mode": "ENFORCE", "rules": [{"principals": ["spiffe://demo.example"]}]}]
    other.apply()
    pair.server.apply()
    inbound, forward = pair.server.address("127.0.0.2:0"), pair.server.address("127.0.0.1:0")
    with tls(inbound, authority, authority.issue("web", WEB)) as request:
        assert exchange(request, b"begun") == b"begun"
        pair.server.process.send_signal(signal.SIGTERM)
        wait_until("it takes no new caller", lambda: refuses(inbound))
        for _ in range(3):
            with connect(forward) as call:
                assert exchange(call, b"for the answer") == b"for the answer"
        assert exchange(request, b"ended") == b"ended"
    assert pair.server.process.wait(timeout=10) == 0
    assert refuses(forward)
