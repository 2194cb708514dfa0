# SPDX-License-Identifier: Apache-2.0
"""How the programs start, die, come back and leave, and what a caller sees of it."""
import contextlib
import os
import signal
import socket
import threading

import pytest

from foreign import attempt, tls
from mesh import API, WEB, Agent, connect, exchange, free_port, how_it_ends, is_reset_or_closed, refuses, run, wait_until
from pair import Pair, client_config, server_config


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_it_is_not_ready_before_its_first_snapshot_and_says_why(keep, authority, service):
    config = server_config(authority, service.address)
    agent = keep(Agent("payments", config, start=False))
    agent.write_config("identity: {certificate: not-there.pem, key: not-there.key}\n")
    agent.start(wait=False)
    agent.wait_line(msg="listening", what="health")
    status, why = agent.http("health", "/healthz/ready")
    assert status == 503 and why.strip()
    assert agent.http("health", "/healthz/live")[0] == 200
    agent.apply()
    wait_until("it is ready", lambda: agent.http("health", "/healthz/ready")[0] == 200)
    assert attempt(agent.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) == b"hello"


def test_a_proxy_that_is_killed_comes_back_and_serves_again(keep, authority):
    pair = keep(Pair(authority))
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
        first, mark = pair.server.proxy_pid(), pair.server.mark()
        os.kill(first, signal.SIGKILL)
        assert is_reset_or_closed(sock)
    pair.server.wait_line(mark, msg="snapshot in force")
    assert pair.server.proxy_pid() not in (0, first)
    assert pair.server.metric("tabard_proxy_restarts_total") == 1
    assert pair.server.metric("tabard_proxy_up") == 1
    # Port 0 may have become another port, and the caller's sidecar has to know it.
    pair.client.config["forwards"][0]["destination"] = "127.0.0.1:%d" % pair.inbound[1]
    pair.client.config["destinations"][0]["ports"] = [pair.inbound[1]]
    mark = pair.client.mark()
    pair.client.write_config()
    wait_until("requests are answered again", lambda: answered(pair))


def answered(pair):
    try:
        with pair.connect() as sock:
            return exchange(sock, b"hello") == b"hello"
    except OSError:
        return False


def test_a_proxy_that_dies_again_and_again_is_started_ever_later_but_always(keep, authority, service):
    agent = keep(Agent("payments", server_config(authority, service.address)))
    for number in range(1, 4):
        mark = agent.mark()
        os.kill(agent.proxy_pid(), signal.SIGKILL)
        wait_until("the metrics say so", lambda: agent.metric("tabard_proxy_restarts_total") == number, seconds=20)
        agent.wait_line(mark, msg="snapshot in force", seconds=20)
    assert attempt(agent.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) == b"hello"


def test_a_first_snapshot_whose_port_is_taken_is_refused_and_taken_later(keep, authority, service):
    taken = socket.create_server(("127.0.0.1", free_port()))
    listen = "127.0.0.1:%d" % taken.getsockname()[1]
    agent = keep(Agent("payments", server_config(authority, service.address, listen=listen), start=False))
    agent.start(wait=False)
    assert listen in agent.wait_line(msg="update refused")["error"]
    assert agent.http("health", "/healthz/ready")[0] == 503
    taken.close()
    agent.config["settings"]["drain_seconds"] = 3
    agent.apply()
    assert attempt(agent.address(listen), authority, authority.issue("web", WEB)) == b"hello"


def test_running_out_of_descriptors_is_survived(keep, authority, service):
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=["prlimit", "--nofile=64:64"]))
    web, proxy = authority.issue("web", WEB), agent.proxy_pid()
    address = agent.address("127.0.0.1:0")
    socks = []
    for _ in range(150):  # the kernel completes these, whether the proxy can accept or not
        with contextlib.suppress(ConnectionResetError):
            socks.append(connect(address))
    before = cpu_seconds(proxy)
    threading.Event().wait(0.5)
    assert cpu_seconds(proxy) - before < 0.25, "it spins"
    for sock in socks:
        sock.close()
    wait_until("it serves again", lambda: attempt(address, authority, web) == b"hello", seconds=20)
    assert agent.proxy_pid() == proxy


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_lets_open_connections_finish_and_takes_no_new_ones(keep, authority, kind):
    pair = keep(Pair(authority, server_settings={"drain_seconds": 20}))
    proxy = pair.server.proxy_pid()
    with pair.connect() as sock:
        assert exchange(sock, b"before") == b"before"
        pair.server.process.send_signal(kind)
        wait_until("it is not ready any more", lambda: not_ready(pair.server))
        wait_until("it takes no new connection", lambda: refuses(pair.inbound))
        assert exchange(sock, b"during") == b"during"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(10) == b""
    assert pair.server.process.wait(timeout=10) == 0
    assert is_gone(proxy)
    assert pair.server.lines(msg="conn")[-1]["reason"] == "finished"


def not_ready(agent):
    try:
        return agent.http("health", "/healthz/ready")[0] == 503
    except OSError:
        return True


def test_a_drain_ends_in_time_also_with_a_connection_that_never_finishes(keep, authority):
    pair = keep(Pair(authority, server_settings={"drain_seconds": 1}))
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
        assert pair.server.stop(seconds=10) == 0
        assert how_it_ends(sock) == "reset"
    assert pair.server.lines(msg="conn")[-1]["reason"] == "draining"


def test_when_the_agent_is_killed_its_proxy_goes_too(keep, authority, service):
    agent = keep(Agent("payments", server_config(authority, service.address, drain_seconds=1)))
    proxy = agent.proxy_pid()
    agent.process.kill()
    agent.process.wait()
    wait_until("the proxy is gone", lambda: is_gone(proxy))


def test_a_proxy_that_is_stopped_loses_nobody_s_answer_on_other_connections(keep, authority):
    """A whole agent that stands still: traffic of connections past their handshake goes on without it."""
    pair = keep(Pair(authority))
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
        os.kill(pair.server.process.pid, signal.SIGSTOP)
        try:
            assert exchange(sock, b"without the agent") == b"without the agent"
        finally:
            os.kill(pair.server.process.pid, signal.SIGCONT)
    wait_until("new connections are possible again", lambda: answered(pair))


def test_starting_with_what_can_t_work_ends_in_one_line(authority, service, tmp_path):
    good = tmp_path / "mesh.yaml"
    good.write_text("{}\n")
    cases = [
        (["--config", good, "--proxy", tmp_path / "nowhere"], 1, "nowhere"),
        (["--config", good, "--workers", "many"], 2, "many"),
        (["--config", good, "--workers", "0"], 2, "0"),
        (["--bogus"], 2, "--bogus"),
        ([], 2, "--config"),
        (["--config", good, "--health", "127.0.0.1:99999"], 2, "99999"),
        (["--config", good, "--log-level", "loud"], 2, "loud"),
    ]
    for arguments, code, word in cases:
        done = run("tabard-agent", *arguments, "--admin", tmp_path / "admin.sock", check=False)
        assert done.returncode == code, (arguments, done)
        # A warning tells of the sandbox's layers that this kernel, or a sanitizer, lacks.
        said = [line for line in done.stderr.splitlines() if "level=info" not in line and "level=warn" not in line]
        assert len(said) == 1 and word in said[0], (arguments, done.stderr)


def test_a_proxy_that_no_agent_started_says_so_in_one_line():
    for workers in ("1", "2"):
        done = run("tabard-proxy", "--workers", workers, check=False)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done
        assert "descriptor 3 is no socket to tabard-agent, which alone starts tabard-proxy" in done.stderr


def test_help_is_answered_by_every_program():
    for program in ("tabard-agent", "tabard-proxy", "tabard-ca", "tabardctl", "tabard-policyd"):
        assert program in run(program, "--help").stdout and "--version" in run(program, "--help").stdout


def test_a_second_agent_on_the_same_ports_is_refused(keep, authority, service):
    first = keep(Agent("payments", server_config(authority, service.address)))
    health = "%s:%d" % first.address("health")
    second = keep(Agent("second", server_config(authority, service.address), start=False))
    done = run("tabard-agent", "--config", second.folder / "mesh.yaml", "--proxy", "/bin/false", "--metrics", "127.0.0.1:0",
               "--health", health, "--admin", second.folder / "admin.sock", check=False)
    assert done.returncode == 1 and health in done.stderr and "in use" in done.stderr
    done = run("tabard-agent", "--config", second.folder / "mesh.yaml", "--proxy", "/bin/false", "--metrics", "127.0.0.1:0",
               "--health", "127.0.0.1:0", "--admin", first.folder / "admin.sock", check=False)
    assert done.returncode == 1 and "admin.sock" in done.stderr
    assert first.status()["ready"], "the first one still answers on its admin socket"


def test_an_admin_socket_that_a_killed_agent_left_is_taken_over(keep, authority, service):
    agent = keep(Agent("payments", server_config(authority, service.address)))
    agent.process.kill()
    agent.process.wait()
    agent.start()
    assert agent.status()["ready"]


def test_the_proxy_runs_as_another_user_and_holds_no_files(keep, authority, service):
    if os.geteuid() != 0:
        pytest.skip("needs root: an agent that isn't root can't give its proxy another uid")
    agent = keep(Agent("payments", server_config(authority, service.address)))
    pid = agent.proxy_pid()
    facts = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    assert facts["Uid"].split() == ["1337"] * 4
    assert int(facts["CapEff"], 16) == 0 and int(facts["CapPrm"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    assert not [name for name in files if name.endswith((".pem", ".key", ".yaml"))]


def test_a_burst_of_handshakes_is_signed_for_all(keep, authority):
    pair = keep(Pair(authority, workers=2))
    wrong = []

    def call():
        if not answered(pair):
            wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert pair.server.metric("tabard_signatures_total", result="ok") >= 60


def test_the_far_sidecar_may_restart_without_the_near_one_noticing(keep, authority, service):
    listen = f"127.0.0.1:{free_port()}"  # the same after the restart
    server = keep(Agent("payments", server_config(authority, service.address, listen=listen)))
    client = keep(Agent("shop", client_config(authority, server.address(listen))))

    def ask():
        try:
            with connect(client.address("127.0.0.1:0")) as sock:
                return exchange(sock, b"hello") == b"hello"
        except OSError:
            return False

    assert ask()
    assert server.stop() == 0
    mark = client.mark()
    assert not ask()
    client.wait_conn(mark, dir="outbound", reason="connect_refused")
    server.start()
    wait_until("it answers again", ask)
    with tls(server.address(listen), authority, authority.issue("web", WEB)) as sock:
        assert exchange(sock, API.encode()) == API.encode()
