# SPDX-License-Identifier: Apache-2.0
"""Many callers at once are served, not refused; strangers who hold connections take nobody's place."""
import os
import signal
import socket
import threading

import pytest

from foreign import MemoryClient, attempt, client_context
from herd import ANSWER, Answers, ShareOfACore, Strangers, Unavailable, call_at_once, handshakes
from mesh import WEB, Agent, connect, is_reset_or_closed, wait_until
from pair import FORWARD, client_config, server_config


@pytest.fixture(scope="module")
def answers():
    made = Answers()
    yield made
    made.close()


class Mute:
    """A server that accepts and never says a word."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.sock.getsockname()[1]

    def close(self):
        self.sock.close()


def two_sidecars(keep, authority, answers, **server_settings):
    server = keep(Agent("payments", server_config(authority, answers.address, **server_settings)))
    return server, keep(Agent("shop", client_config(authority, server.address(FORWARD))))


def unserved(*agents):
    """The reasons of all connections that did not end well."""
    return {line["reason"] for agent in agents for line in agent.lines(msg="conn")} - {"finished"}


def test_three_times_as_many_callers_as_the_limit_on_handshakes_are_all_answered(keep, authority, answers):
    server, client = two_sidecars(keep, authority, answers, limits={"handshakes": 500})
    answered, refused, seconds = call_at_once(client.address(FORWARD), 1500, 60)
    assert (answered, refused) == (1500, 0), (seconds, unserved(server, client))


@pytest.mark.parametrize("setting", ["connections", "descriptors"])
def test_callers_beyond_the_limit_on_connections_are_answered_when_others_have_ended(keep, authority, answers, setting):
    limits = {"connections": 100} if setting == "connections" else {}
    prefix = ["prlimit", "--nofile=400:400"] if setting == "descriptors" else []
    server = keep(Agent("payments", server_config(authority, answers.address, limits=limits), prefix=prefix))
    client = keep(Agent("shop", client_config(authority, server.address(FORWARD))))
    answered, refused, _ = call_at_once(client.address(FORWARD), 600, 60, stays_open=False)
    assert (answered, refused) == (600, 0), unserved(server, client)
    assert server.metric("tabard_accept_pauses_total", direction="inbound") > 0


def test_with_a_tenth_of_a_core_callers_wait_longer_and_are_all_answered(keep, authority, answers):
    server, client = two_sidecars(keep, authority, answers, limits={"handshake_ms": 2000})
    client.config["settings"] = {"limits": {"handshake_ms": 2000}}
    client.apply()
    try:
        for agent in (server, client):
            keep(ShareOfACore(agent.name, 10, [agent.proxy_pid()]))
    except Unavailable as why:
        pytest.skip(str(why))
    answered, refused, seconds = call_at_once(client.address(FORWARD), 1000, 60)
    assert (answered, refused) == (1000, 0), unserved(server, client)
    assert seconds > 2, "this machine is too fast for the test: nobody had to wait longer than one handshake may take"


def test_a_proxy_that_was_stopped_for_longer_than_a_hello_may_take_ends_nobody_who_has_spoken(keep, authority, answers):
    server, client = two_sidecars(keep, authority, answers, limits={"hello_ms": 500, "handshake_ms": 500})
    pid = server.proxy_pid()
    result = []
    os.kill(pid, signal.SIGSTOP)
    caller = threading.Thread(target=lambda: result.append(call_at_once(client.address(FORWARD), 20, 20)))
    caller.start()
    wait_until("all have called", lambda: client.metric("tabard_handshakes_in_flight", direction="outbound") == 20)
    threading.Event().wait(1)
    os.kill(pid, signal.SIGCONT)
    caller.join()
    assert result[0][:2] == (20, 0), unserved(server, client)


@pytest.mark.parametrize("first", ["nothing", "a part of a hello"])
@pytest.mark.parametrize("hellos", [0, 500])
def test_two_thousand_strangers_make_nobody_s_handshake_fail_or_slow(keep, authority, answers, first, hellos):
    server = keep(Agent("payments", server_config(authority, answers.address, limits={"hellos": hellos})))
    address, context = server.address(FORWARD), client_context(authority, authority.issue("web", WEB))
    before, failed = handshakes(address, context, 100)
    assert not failed
    hello = MemoryClient(address, authority).client_hello()[:50] if first != "nothing" else b""
    strangers = keep(Strangers(address, 2000, hello))
    wait_until("as many are awaited as may be",
               lambda: strangers.renew() or server.metric("tabard_hellos_awaited") >= (hellos or 2000))
    took, failed = handshakes(address, context, 30 if hellos else 200, strangers.renew)
    assert not failed
    if hellos == 0:  # beyond the limit these strangers call again so fast that they take the machine from everybody
        assert sorted(took)[-3] < 2 * sorted(before)[-2] + 0.02, "the machine's own pauses are allowed for"
        assert server.metric("tabard_connections_closed_total", reason="limit_hellos") == 0


def test_strangers_who_call_in_leave_the_service_s_own_calls_alone(keep, authority, answers):
    far = keep(Agent("payments", server_config(authority, answers.address)))
    config = client_config(authority, far.address(FORWARD), limits={"handshakes": 10, "hellos": 50, "connections": 200})
    config["inbound_ports"] = server_config(authority, answers.address, listen="127.0.0.2:0")["inbound_ports"]
    near = keep(Agent("shop", config))
    inbound, web = near.address("127.0.0.2:0"), authority.issue("web", WEB)
    silent = keep(Strangers(inbound, 100))
    half = [MemoryClient(inbound, authority, web) for _ in range(20)]
    for client in half:
        client.sock.sendall(client.client_hello())
    wait_until("strangers hold all that they may", lambda: silent.renew() or near.metric("tabard_accept_pauses_total", direction="inbound") > 0)
    for _ in range(5):
        assert call_at_once(near.address(FORWARD), 20, 20)[:2] == (20, 0), unserved(near, far)
        silent.renew()
    assert near.metric("tabard_connections_closed_total", direction="outbound", reason="limit_handshakes") == 0
    for client in half:
        client.close()


def test_a_destination_that_answers_nobody_keeps_no_other_call_waiting(keep, authority, answers):
    far = keep(Agent("payments", server_config(authority, answers.address)))
    config = client_config(authority, far.address(FORWARD))
    mute = keep(Mute())
    config["forwards"].append({"listen": "127.0.0.2:0", "destination": f"127.0.0.1:{mute.port}"})
    config["destinations"][0]["ports"].append(mute.port)
    near = keep(Agent("shop", config))
    stuck = keep(Strangers(near.address("127.0.0.2:0"), 300))
    wait_until("calls to it wait", lambda: near.metric("tabard_handshakes_waiting", direction="outbound") > 0)
    assert call_at_once(near.address(FORWARD), 100, 20)[:2] == (100, 0), unserved(near, far)
    assert stuck.num_ended == 0


def test_the_agent_signs_for_no_crowd_of_callers_who_have_gone(keep, authority, answers):
    server = keep(Agent("payments", server_config(authority, answers.address)))
    address, web = server.address(FORWARD), authority.issue("web", WEB)
    server.process.send_signal(signal.SIGSTOP)
    strangers = [MemoryClient(address, authority, web) for _ in range(300)]
    for stranger in strangers:
        stranger.sock.sendall(stranger.client_hello())
    threading.Event().wait(0.5)  # until the proxy has read them all; its metrics are the agent's to tell
    for stranger in strangers:
        stranger.close()
    threading.Event().wait(0.2)
    server.process.send_signal(signal.SIGCONT)
    assert attempt(address, authority, web) == ANSWER[:5]
    assert server.metric("tabard_signatures_total", result="ok") <= 33


def test_a_flood_of_strangers_fills_no_log(keep, authority, answers):
    server = keep(Agent("payments", server_config(authority, answers.address)))
    address = server.address(FORWARD)
    for number in range(400):
        with connect(address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n" if number % 2 else b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
            is_reset_or_closed(sock)
    for reason in ("plaintext_on_mtls", "tls_error"):
        wait_until("all are counted", lambda: server.metric("tabard_connections_closed_total", reason=reason) == 200)
        assert 50 <= len(server.lines(msg="conn", reason=reason)) < 80
    threading.Event().wait(1.1)  # until a line may be logged again
    with connect(address) as sock:
        sock.sendall(b"GET /")
        is_reset_or_closed(sock)
    lines = server.lines(msg="conn", reason="plaintext_on_mtls")
    assert sum(1 + int(line.get("not_logged", 0)) for line in lines) == 201
