# SPDX-License-Identifier: Apache-2.0
"""The address that a sidecar calls is bound into the handshake: whoever leads the connection elsewhere on the way is found out."""
import contextlib
import socket
import threading

import pytest

from foreign import attempt, server_context, tls
from mesh import API, WEB, Agent, Service, connect, is_turned_away, join_address
from pair import client_config, server_config

SERVER = "127.0.0.1:0"


class Detour:
    """Somebody on the way: takes connections at an address of its own and leads them to another one, byte for byte."""

    def __init__(self, to, host="127.0.0.1"):
        self.to = to
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.address = self.listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                far = connect(self.to)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


def answer_with(word):
    def answer(sock):
        if sock.recv(100):
            sock.sendall(word)
    return answer


@pytest.fixture
def payments(keep, authority):
    """One identity with two applications, at two ports."""
    first, second = keep(Service(answer_with(b"first"))), keep(Service(answer_with(b"second")))
    config = server_config(authority, first.address)
    config["inbound_ports"].append({"port": 8081, "mode": "MTLS", "listen": "127.0.0.2:0", "application": join_address(*second.address)})
    config["policies"][0].pop("ports")
    return keep(Agent("payments", config))


def shop(keep, authority, address, **destination):
    config = client_config(authority, address)
    config["destinations"][0] |= destination
    return keep(Agent("shop", config))


def ask(client):
    with connect(client.address(SERVER)) as sock:
        sock.sendall(b"?")
        return sock.recv(100)


def refusal(address, authority, certificate, *alpn):
    """The alert that a client with this ALPN list gets, as OpenSSL's versions write it."""
    return str(attempt(address, authority, certificate, alpn=alpn)).upper().replace(" ", "_")


def test_a_redirect_to_another_port_of_the_same_identity_is_refused_by_name_on_both_sides(keep, authority, payments):
    first, second = payments.address(SERVER), payments.address("127.0.0.2:0")
    assert ask(shop(keep, authority, first)) == b"first"
    for led_to in (second, first):  # the same address behind another one is a redirect, too
        detour = keep(Detour(led_to))
        client = shop(keep, authority, detour.address)
        marks = client.mark(), payments.mark()
        assert is_turned_away(client.address(SERVER), say=b"?")
        inside = payments.wait_conn(marks[1], dir="inbound", reason="misdirected")
        assert inside["detail"] == f"the caller called {join_address(*detour.address)} and was led to {join_address(*led_to)}"
        assert (inside["up"], inside["peer"]) == ("0", "-")
        outside = client.wait_conn(marks[0], dir="outbound", reason="misdirected")
        assert "binding" in outside["detail"]


def test_a_destination_whose_address_is_translated_says_so(keep, authority, payments):
    detour = keep(Detour(payments.address("127.0.0.2:0")))
    assert ask(shop(keep, authority, detour.address, binding="NONE")) == b"second"


def test_a_server_may_demand_it_of_sidecars_and_not_of_foreign_peers(keep, authority, payments):
    address = payments.address(SERVER)
    web = authority.issue("web", WEB)
    assert attempt(address, authority, web, alpn=["tabard/1"]) == b"first"  # as a sidecar of before would
    payments.config["settings"]["require_bound_destinations"] = True
    payments.apply()
    assert ask(shop(keep, authority, address)) == b"first"
    for alpn in ([], ["http/1.1"]):
        assert attempt(address, authority, web, alpn=alpn) == b"first"
    client = shop(keep, authority, address, binding="NONE")
    marks = client.mark(), payments.mark()
    assert is_turned_away(client.address(SERVER), say=b"?")
    assert "require_bound_destinations" in payments.wait_conn(marks[1], dir="inbound", reason="unbound_destination")["detail"]
    assert client.wait_conn(marks[0], dir="outbound")["reason"] == "peer_alert"
    assert "ACCESS_DENIED" in refusal(address, authority, web, "tabard/1")


def test_a_destination_may_demand_that_the_server_confirms_it(keep, authority, payments):
    assert ask(shop(keep, authority, payments.address(SERVER), binding="REQUIRED")) == b"first"
    seen = []

    def old_sidecar(sock):
        context = server_context(authority, authority.issue("api", API))
        context.set_alpn_protocols(["tabard/1"])
        with contextlib.suppress(OSError):
            secure = context.wrap_socket(sock, server_side=True)
            seen.append(secure.getpeercert())
            secure.sendall(secure.recv(1) and b"old")
            secure.unwrap()

    old = keep(Service(old_sidecar))
    assert ask(shop(keep, authority, old.address)) == b"old"
    assert len(seen) == 1
    client = shop(keep, authority, old.address, binding="REQUIRED")
    mark = client.mark()
    assert is_turned_away(client.address(SERVER), say=b"?")
    assert "confirm" in client.wait_conn(mark, dir="outbound", reason="unbound_destination")["detail"]
    assert len(seen) == 1, "our certificate is shown to nobody who does not confirm"


def test_what_a_client_is_bound_to_is_what_it_says(keep, authority, payments):
    """A client that names several addresses, or something odd, is judged by the server's own name alone."""
    address, web = payments.address(SERVER), authority.issue("web", WEB)
    own = "tabard/1/" + join_address(*address)
    with tls(address, authority, web, alpn=["tabard/1", own]) as sock:
        assert sock.selected_alpn_protocol() == own
    for odd in ("tabard/1/", "tabard/1/x", own + "0", own[:-1], "tabard/1/[::ffff:127.0.0.1]:%d" % address[1], "tabard/1/" + "\x7f" * 200):
        mark = payments.mark()
        assert "UNRECOGNIZED_NAME" in refusal(address, authority, web, "tabard/1", odd)
        payments.wait_conn(mark, dir="inbound", reason="misdirected")


def test_it_holds_for_ipv6_and_for_a_sidecar_that_listens_everywhere(keep, authority):
    service = keep(Service(answer_with(b"here")))
    for listen, hosts in (("[::]:0", ["::1"]), ("0.0.0.0:0", ["127.0.0.1", "127.0.0.3"])):
        server = keep(Agent("payments", server_config(authority, service.address, listen=listen)))
        port = server.address(listen)[1]
        for host in hosts:
            assert ask(shop(keep, authority, (host, port), binding="REQUIRED")) == b"here"
        client = shop(keep, authority, keep(Detour((hosts[0], port), host=hosts[0])).address)
        mark = client.mark()
        assert is_turned_away(client.address(SERVER), say=b"?")
        client.wait_conn(mark, dir="outbound", reason="misdirected")


def test_a_server_that_permits_plaintext_still_compares(keep, authority):
    service = keep(Service(answer_with(b"open")))
    for foreign_tls in (None, "APPLICATION"):
        config = server_config(authority, service.address, mode="PERMISSIVE")
        if foreign_tls:
            config["inbound_ports"][0]["foreign_tls"] = foreign_tls
        server = keep(Agent("payments", config))
        assert ask(shop(keep, authority, server.address(SERVER), binding="REQUIRED")) == b"open"
        client = shop(keep, authority, keep(Detour(server.address(SERVER))).address)
        mark = server.mark()
        assert is_turned_away(client.address(SERVER), say=b"?")
        server.wait_conn(mark, dir="inbound", reason="misdirected")
