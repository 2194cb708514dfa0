# SPDX-License-Identifier: Apache-2.0
"""The operators' pages while strangers hold connections to them: /healthz, /metrics and /status, of both programs."""
import contextlib
import http.client
import socket
import sys
import time

import pytest

from mesh import ROOT, WEB, Agent, connect, wait_until
from pair import bundles, identity

sys.path.append(str(ROOT / "tests/interop"))

from policyd_process import Policyd, workload  # noqa: E402

HEAD_S = 5  # HTTP_HEAD_MS_MAX


@pytest.fixture(scope="module")
def places(authority):
    """Each page's address, or path of a Unix socket, and what is asked there."""
    policyd = Policyd({"workloads": [workload("caller")]}, listen=None)
    with contextlib.closing(policyd), contextlib.closing(Agent("web", {
            "identity": identity(authority.issue("web", WEB)), "trust_bundles": bundles(authority)})) as agent:
        yield {"health": (agent.address("health"), "/healthz/ready"), "metrics": (agent.address("metrics"), "/metrics"),
               "status": (str(agent.folder / "admin.sock"), "/status"), "policyd": (policyd.metrics_at, "/metrics")}


def call(place, source=None):
    if isinstance(place, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(place)
        return sock
    return socket.create_connection(place, timeout=10, source_address=(source, 0) if source else None)


def answer(place, path):
    """Returns the status, and how many seconds it took."""
    began = time.monotonic()
    with call(place) as sock:
        sock.settimeout(10)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        reply = http.client.HTTPResponse(sock)
        reply.begin()
        reply.read()
    return reply.status, time.monotonic() - began


def is_open(sock, say=b""):
    try:
        sock.sendall(say)
        sock.setblocking(False)
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


PAGES = ["health", "metrics", "status", "policyd"]
DRIP = b"GET / HTTP/1.1\r\nHost: x\r\nX: "


@pytest.mark.parametrize("page", PAGES)
def test_who_asks_is_answered_while_strangers_hold_connections(places, page):
    """Half of them are silent, the others drip a byte now and then."""
    place, path = places[page]
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(call(place, f"127.0.0.{2 + i % 8}")) for i in range(200)]

        def drip(what):
            return [is_open(sock, what) for sock in socks[::2]] + [is_open(sock) for sock in socks[1::2]]

        drip(DRIP)
        for _ in range(3):
            status, seconds = answer(place, path)
            assert status == 200 and seconds < 1
            drip(b"x")
        if page in ("health", "policyd"):
            wait_until("they are all ended in time", lambda: not any(drip(b"x")), HEAD_S + 2)


@pytest.mark.parametrize("page", ["health", "metrics", "policyd"])  # only its owner reaches the agent's socket
def test_who_asks_is_answered_while_strangers_ask_and_never_read(places, page):
    place, path = places[page]
    with contextlib.ExitStack() as stack:
        for i in range(200):
            is_open(stack.enter_context(call(place, f"127.0.0.{2 + i % 8}")), f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 10)
        for _ in range(3):
            status, seconds = answer(place, path)
            assert status == 200 and seconds < 1


@pytest.mark.parametrize("page", PAGES)
def test_connections_that_come_and_go_unused_silence_nobody(places, page):
    place, path = places[page]
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for i in range(64):
                stack.enter_context(call(place, f"127.0.0.{2 + i % 2}"))
        assert answer(place, path)[0] == 200


@pytest.mark.parametrize("page", ["health", "metrics", "policyd"])
def test_a_scraper_keeps_its_connection_between_strangers(places, page):
    place, path = places[page]
    with contextlib.closing(http.client.HTTPConnection(*place, timeout=5)) as scraper:
        for _ in range(3):
            scraper.request("GET", path)
            reply = scraper.getresponse()
            assert reply.status == 200 and reply.read()
            with contextlib.ExitStack() as stack:
                for i in range(100):
                    stack.enter_context(call(place, f"127.0.0.{2 + i % 8}"))


def answers(address, host):
    try:
        connect(address, host).close()
        return True
    except ConnectionRefusedError:
        return False


def test_by_default_the_pages_are_served_on_loopback_and_the_hosts_own_address_also_when_it_changes(network, authority, keep):
    host = network["lobby"]
    host.run("ip", "address", "add", "10.99.0.1/32", "dev", "lo")
    try:
        keep(Agent("web", {"identity": identity(authority.issue("web", WEB)), "trust_bundles": bundles(authority)}, netns=host))
        for port in (15020, 15021):
            for address in ("127.0.0.1", host.ipv4, host.ipv6):
                connect((address, port), host).close()
            with pytest.raises(ConnectionRefusedError):
                connect(("10.99.0.1", port), host)
        host.run("ip", "address", "del", f"{host.ipv4}/16", "dev", "eth0")
        host.run("ip", "address", "add", "10.77.200.1/16", "dev", "eth0")
        for port in (15020, 15021):  # the host's address has changed
            wait_until("it is served", lambda: answers(("10.77.200.1", port), host))
        connect(("127.0.0.1", 15021), host).close()
    finally:
        host.run("ip", "address", "del", "10.99.0.1/32", "dev", "lo")
        host.run("ip", "address", "del", "10.77.200.1/16", "dev", "eth0", check=False)
        host.run("ip", "address", "add", f"{host.ipv4}/16", "dev", "eth0", check=False)
