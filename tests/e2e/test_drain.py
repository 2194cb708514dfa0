# SPDX-License-Identifier: Apache-2.0
"""The end of a sidecar that is told to end: who is still served, for how long, and which signals change that."""
import contextlib
import os
import signal
import time

import pytest

from foreign import attempt, tls
from mesh import WEB, Agent, Service, connect, exchange, refuses, wait_until
from pair import Pair, server_config


def is_draining(agent):
    status, why = agent.http("health", "/healthz/ready")
    return status == 503 and "draining" in why


def test_a_service_without_callers_goes_on_calling_while_one_of_its_calls_is_open(keep, authority):
    """A batch, or a worker that reads a queue: it finishes what it does, and for that calls others."""
    pair = keep(Pair(authority, client_settings={"drain_seconds": 20}))
    with pair.connect() as held:
        assert exchange(held, b"begun") == b"begun"
        pair.client.process.terminate()
        wait_until("it drains", lambda: is_draining(pair.client))
        for _ in range(3):
            with pair.connect() as call:
                assert exchange(call, b"for what is begun") == b"for what is begun"
        assert exchange(held, b"ended") == b"ended"
    assert pair.client.process.wait(timeout=10) == 0
    assert refuses(pair.client.address("127.0.0.1:0"))


def test_calls_are_taken_until_nothing_is_open_on_any_worker(keep, authority):
    """Connections are spread over workers: one that has none yet, or none any more, takes calls like the others."""
    pair = keep(Pair(authority, client_settings={"drain_seconds": 20}, workers=3))
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(pair.connect())
        assert exchange(held, b"first") == b"first"
        pair.client.process.terminate()
        wait_until("it drains", lambda: is_draining(pair.client))
        for _ in range(30):
            following = pair.connect()
            assert exchange(following, b"next") == b"next"
            held.close()
            held = following
        held.close()
    assert pair.client.process.wait(timeout=10) == 0


def test_callers_are_served_for_a_while_after_readiness_is_gone(keep, authority, service):
    """So that a balancer, which asks for readiness, has time to learn."""
    server = keep(Agent("payments", server_config(authority, service.address, drain_seconds=20, drain_delay_seconds=3)))
    web, address = authority.issue("web", WEB), server.address("127.0.0.1:0")
    began = time.monotonic()
    server.process.terminate()
    wait_until("it is not ready", lambda: is_draining(server))
    assert attempt(address, authority, web) == b"hello"
    wait_until("it takes no more callers", lambda: refuses(address))
    assert time.monotonic() - began > 2.9
    assert server.process.wait(timeout=10) == 0


def test_who_may_not_come_in_any_more_does_not_for_the_sake_of_the_delay(keep, authority, service):
    config = server_config(authority, service.address, drain_seconds=20, drain_delay_seconds=10)
    server = keep(Agent("payments", config))
    web, address = authority.issue("web", WEB), server.address("127.0.0.1:0")
    server.process.terminate()
    wait_until("it is not ready", lambda: is_draining(server))
    assert attempt(address, authority, web) == b"hello"
    config["policies"] = []
    server.apply()
    assert attempt(address, authority, web) != b"hello"
    assert is_draining(server), "a new configuration makes it no readier"


def test_a_proxy_that_is_lost_in_the_delay_comes_back(keep, authority, service):
    server = keep(Agent("payments", server_config(authority, service.address, drain_seconds=20, drain_delay_seconds=10)))
    server.process.terminate()
    wait_until("it is not ready", lambda: is_draining(server))
    mark = server.mark()
    os.kill(server.proxy_pid(), signal.SIGKILL)
    server.wait_line(mark, msg="snapshot in force")
    address = [line["address"] for line in server.lines(mark, msg="listening", configured="127.0.0.1:0")][-1]
    host, port = address.rsplit(":", 1)
    assert attempt((host, int(port)), authority, authority.issue("web", WEB)) == b"hello"


@pytest.mark.parametrize("to_group", [False, True])
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_twice_cuts_nothing(keep, authority, kind, to_group):
    """timeout(1), shells and service managers send two, to the process and to its group, which has the proxy in it."""
    pair = keep(Pair(authority, server_settings={"drain_seconds": 20}))
    agent = pair.server.process
    with pair.connect() as sock:
        assert exchange(sock, b"before") == b"before"
        for _ in range(2):
            mark = pair.server.mark()
            os.killpg(agent.pid, kind) if to_group else agent.send_signal(kind)
            pair.server.wait_line(mark, signal=int(kind), program="tabard-agent")
        assert exchange(sock, b"after") == b"after"
    assert agent.wait(timeout=10) == 0


def test_a_signal_to_the_whole_group_begins_no_drain_before_the_delay_is_over(keep, authority, service):
    server = keep(Agent("payments", server_config(authority, service.address, drain_seconds=20, drain_delay_seconds=10)))
    web, address = authority.issue("web", WEB), server.address("127.0.0.1:0")
    os.killpg(server.process.pid, signal.SIGTERM)
    wait_until("it is not ready", lambda: is_draining(server))
    assert attempt(address, authority, web) == b"hello"
    assert not server.lines(msg="draining", program="tabard-proxy")


def test_a_reader_that_pauses_holds_up_the_end_by_a_second(keep, authority):
    """What it has not read yet, and the alert behind it, can't be delivered."""
    flood = keep(Service(send_forever))
    server = keep(Agent("payments", server_config(authority, flood.address, drain_seconds=1)))
    with tls(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) as slow:
        slow.sendall(b"?")
        assert slow.recv(1)
        wait_until("its window is closed", lambda: server.metric("tabard_buffer_bytes") > 0)
        began = time.monotonic()
        assert server.stop(seconds=10) == 0
        assert time.monotonic() - began < 3.5
    assert server.lines(msg="conn")[-1]["reason"] == "draining"


def send_forever(sock):
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(bytes(65536))


def test_the_default_leaves_time_within_what_kubernetes_gives(keep, authority, service):
    config = server_config(authority, service.address)
    config.pop("settings", None)
    server = keep(Agent("payments", config))
    with tls(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB)):
        server.process.terminate()
        assert int(server.wait_line(msg="draining", program="tabard-agent")["seconds"]) == 25
