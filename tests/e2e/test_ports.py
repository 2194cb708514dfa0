# SPDX-License-Identifier: Apache-2.0
"""The four ways in which a port is served: MTLS is everywhere else, here are the other three."""
import socket
import ssl
import struct

import pytest

from foreign import MemoryClient, attempt, server_context, tls
from mesh import WEB, Agent, Service, connect, echo, exchange, is_reset_or_closed, is_turned_away, read_all, wait_until
from pair import Pair, client_config, server_config

ANYBODY_NEAR = {"name": "near-may", "action": "ALLOW", "mode": "ENFORCE", "ports": [8080],
                "rules": [{"source_ips": ["127.0.0.0/8"]}]}


def serve(keep, authority, handler=None, *, mode, policies=True, foreign_tls=None, **limits):
    """A sidecar with one port of this mode; its service is `agent.service`."""
    service = keep(Service(handler))
    config = server_config(authority, service.address, mode=mode, limits=limits)
    if policies:
        config["policies"].append(ANYBODY_NEAR)
    if foreign_tls:
        config["inbound_ports"][0]["foreign_tls"] = foreign_tls
    agent = keep(Agent("payments", config))
    agent.service = service
    return agent


def test_a_permissive_port_takes_plaintext_and_mesh_tls_and_counts_the_plaintext(keep, authority):
    server = serve(keep, authority, mode="PERMISSIVE")
    address = server.address("127.0.0.1:0")
    with connect(address) as sock:
        assert exchange(sock, b"GET / HTTP/1.0\r\n\r\n") == b"GET / HTTP/1.0\r\n\r\n"
    with tls(address, authority, authority.issue("web", WEB), alpn=["tabard/1"]) as sock:
        assert sock.selected_alpn_protocol() == "tabard/1"
        assert exchange(sock, b"hello") == b"hello"
    assert server.metric("tabard_plaintext_connections_total") == 1
    assert server.wait_conn(dir="inbound", peer=WEB)["rule"] == "shop-may-pay#0"


def test_a_permissive_port_still_asks_the_policy(keep, authority):
    server = serve(keep, authority, mode="PERMISSIVE", policies=False)
    mark = server.mark()
    assert is_turned_away(server.address("127.0.0.1:0"), say=b"GET / HTTP/1.0\r\n\r\n")
    server.wait_conn(mark, dir="inbound", reason="policy_denied")
    assert server.service.num_connections == 0


def test_on_a_permissive_port_a_silent_client_hears_a_server_that_speaks_first(keep, authority):
    def greet(sock):
        sock.sendall(b"220 ready\r\n")
        echo(sock)

    server = serve(keep, authority, greet, mode="PERMISSIVE", detect_ms=100)
    with connect(server.address("127.0.0.1:0")) as sock:
        assert sock.recv(100) == b"220 ready\r\n"
        assert exchange(sock, b"QUIT") == b"QUIT"


def test_a_permissive_port_has_a_patience_of_its_own(keep, authority):
    def greet(sock):
        sock.sendall(b"220 ready\r\n")
        echo(sock)

    server = serve(keep, authority, greet, mode="PERMISSIVE", detect_ms=60000)
    server.config["inbound_ports"][0]["detect_ms"] = 20
    server.apply()
    with connect(server.address("127.0.0.1:0"), seconds=5) as sock:
        assert sock.recv(100) == b"220 ready\r\n"
    # Who speaks is not waited for, and who speaks TLS is not taken for silent.
    with tls(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) as sock:
        assert sock.recv(100) == b"220 ready\r\n"


def op_msg(total, request):
    """A message of MongoDB's: its length, its number, then the rest; all numbers little-endian."""
    head = struct.pack("<iiii", total, request, 0, 2013)
    return head + bytes(total - len(head))


# Beginnings of plaintext protocols of which the first byte, or more, could be TLS's.
LIKE_TLS = {
    "MongoDB, 278 bytes": op_msg(278, 1),
    "MongoDB, 790 bytes": op_msg(790, 1),
    "MongoDB, 790 bytes, a later request": op_msg(790, 513),
    "a length of one byte": b"\x16" + b"y" * 22,
    "a length of two bytes": b"\x16\x03" + b"y" * 790,
    "five of six": b"\x16\x03\x01\x00\x05\x02" + b"y" * 4,
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "SSL 2.0": b"\x80\x2e\x01\x03\x01" + b"y" * 41,
}


@pytest.mark.parametrize("foreign_tls", [None, "APPLICATION"])
def test_a_permissive_port_tells_tls_by_six_bytes(keep, authority, foreign_tls):
    server = serve(keep, authority, mode="PERMISSIVE", foreign_tls=foreign_tls, detect_ms=60000)
    for name, message in LIKE_TLS.items():
        with connect(server.address("127.0.0.1:0"), seconds=5) as sock:
            assert exchange(sock, message) == message, name
        with connect(server.address("127.0.0.1:0"), seconds=5) as sock:  # in pieces: what fits says nothing yet
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in message[:6]:
                sock.sendall(bytes([byte]))
            sock.sendall(message[6:])
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == message, name


def test_a_permissive_port_takes_a_beginning_of_tls_without_more_for_plaintext(keep, authority):
    server = serve(keep, authority, mode="PERMISSIVE", detect_ms=50)
    for start in (b"\x16", b"\x16\x03", b"\x16\x03\x01\x02\x00"):
        with connect(server.address("127.0.0.1:0")) as sock:
            assert exchange(sock, start) == start
        with connect(server.address("127.0.0.1:0")) as sock:
            sock.sendall(start)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == start
    # Six bytes of a ClientHello are TLS, and never plaintext.
    mark = server.mark()
    before = server.service.num_connections
    with connect(server.address("127.0.0.1:0")) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        sock.shutdown(socket.SHUT_WR)
        assert is_reset_or_closed(sock)
    server.wait_conn(mark, dir="inbound", reason="peer_closed_in_handshake")
    assert server.service.num_connections == before


def test_what_looks_like_tls_by_its_first_byte_alone_is_plaintext_on_an_mtls_port(keep, authority):
    server = serve(keep, authority, mode="MTLS")
    for name, message in LIKE_TLS.items():
        mark = server.mark()
        assert is_turned_away(server.address("127.0.0.1:0"), say=message), name
        assert server.wait_conn(mark, dir="inbound")["reason"] == "plaintext_on_mtls", name


@pytest.mark.parametrize("mode", ["MTLS", "PERMISSIVE"])
@pytest.mark.parametrize("size", [1, 2, 5, 6, 100])
def test_a_hello_in_small_records_is_tls(keep, authority, mode, size):
    server = serve(keep, authority, mode=mode)
    client = MemoryClient(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB), alpn=["tabard/1"])
    hello = client.client_hello()
    pieces = [hello[at:at + size] for at in range(5, len(hello), size)]
    client.sock.sendall(b"".join(hello[:3] + struct.pack(">H", len(piece)) + piece for piece in pieces))
    client._receive()
    client.handshake()
    assert client.exchange(b"hello") == b"hello"
    client.close()


def test_a_permissive_port_leaves_the_application_s_own_tls_alone_if_told_so(keep, authority):
    own = server_context(authority, authority.issue("inner", "spiffe://demo.example/inner"), verify=False)

    def inner_tls(sock):
        with own.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(b"inner " + secure.recv(100))

    server = serve(keep, authority, inner_tls, mode="PERMISSIVE", foreign_tls="APPLICATION")
    assert attempt(server.address("127.0.0.1:0"), authority, alpn=["http/1.1"]) == b"inner hello"
    assert attempt(server.address("127.0.0.1:0"), authority) == b"inner hello"
    # Ours is still ours: with the mesh's ALPN the sidecar answers, and asks for a certificate.
    assert "CERTIFICATE_REQUIRED" in str(attempt(server.address("127.0.0.1:0"), authority, alpn=["tabard/1"]))


def test_a_passthrough_port_hands_on_the_application_s_tls_untouched(keep, authority):
    own = server_context(authority, authority.issue("inner", "spiffe://demo.example/inner"), verify=False)
    own.maximum_version = ssl.TLSVersion.TLSv1_2

    def inner_tls(sock):
        with own.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(secure.version().encode())

    server = serve(keep, authority, inner_tls, mode="TLS_PASSTHROUGH")
    assert attempt(server.address("127.0.0.1:0"), authority) == b"TLSv1.2"


def test_a_plaintext_port_relays_and_its_half_closes_too(keep, authority):
    def reply_at_eof(sock):
        sock.sendall(b"got " + read_all(sock))

    server = serve(keep, authority, reply_at_eof, mode="PLAINTEXT")
    with connect(server.address("127.0.0.1:0")) as sock:
        sock.sendall(b"all of it")
        sock.shutdown(1)
        assert read_all(sock) == b"got all of it"
    assert server.wait_conn(dir="inbound", reason="finished")["peer"] in ("", "-")


def test_a_sidecar_that_speaks_tls_to_a_plaintext_port_is_told_as_that(keep, authority):
    received = []

    def receive(sock):
        try:
            received.append(sock.recv(100))
        except ConnectionResetError:
            received.append(b"")

    server = serve(keep, authority, receive, mode="PLAINTEXT")
    client = keep(Agent("shop", client_config(authority, server.address("127.0.0.1:0"))))
    marks = client.mark(), server.mark()
    assert is_turned_away(client.address("127.0.0.1:0"), say=b"?")
    server.wait_conn(marks[1], dir="inbound", reason="tls_on_plaintext")
    assert client.wait_conn(marks[0], dir="outbound", reason="peer_alert")["detail"] == "unexpected_message"
    wait_until("the service hears of it", lambda: received)
    assert received == [b""], "not one byte of TLS reaches the service"
    # The same hello in pieces.
    hello = MemoryClient(server.address("127.0.0.1:0"), authority, alpn=["x", "tabard/1"])
    hello.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    mark = server.mark()
    data = hello.client_hello()
    for start in (0, 6, 60, 160):
        hello.sock.sendall(data[start:{0: 6, 6: 60, 60: 160}.get(start)])
    server.wait_conn(mark, dir="inbound", reason="tls_on_plaintext")
    hello.close()


@pytest.mark.parametrize("alpn", [[], ["http/1.1"], ["tabard/10"]])
def test_the_application_s_own_tls_passes_a_plaintext_port(keep, authority, alpn):
    own = server_context(authority, authority.issue("inner", "spiffe://demo.example/inner"), verify=False)

    def inner_tls(sock):
        with own.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(b"inner " + secure.recv(100))

    server = serve(keep, authority, inner_tls, mode="PLAINTEXT")
    assert attempt(server.address("127.0.0.1:0"), authority, alpn=alpn) == b"inner hello"


def test_a_plaintext_port_waits_for_nobody(keep, authority):
    """A server may speak first, and what only begins like TLS goes on at once."""
    def greet(sock):
        sock.sendall(b"220 ready\r\n")
        echo(sock)

    server = serve(keep, authority, greet, mode="PLAINTEXT", detect_ms=60000)
    for start in (b"\x16", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x02", b"QUIT"):
        with connect(server.address("127.0.0.1:0"), seconds=5) as sock:
            assert sock.recv(100) == b"220 ready\r\n"
            assert exchange(sock, start) == start


def test_an_unlisted_destination_is_denied_and_relayed_in_the_clear_only_if_told_so(keep, authority, service):
    pair = keep(Pair(authority))
    where = "127.0.0.2:0"
    pair.client.config["forwards"].append({"listen": where, "destination": f"127.0.0.1:{service.address[1]}"})
    pair.client.apply()
    mark = pair.client.mark()
    assert is_turned_away(pair.client.address(where))
    pair.client.wait_conn(mark, dir="outbound", reason="unlisted_destination")
    pair.client.config["settings"]["unlisted_outbound"] = "PLAINTEXT"
    pair.client.apply()
    with connect(pair.client.address(where)) as sock:
        assert exchange(sock, b"hello") == b"hello"


def test_a_client_with_any_other_alpn_is_served_with_none_selected(keep, authority):
    server = serve(keep, authority, mode="MTLS")
    with tls(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB), alpn=["h2", "http/1.1"]) as sock:
        assert sock.selected_alpn_protocol() is None
        assert exchange(sock, b"hello") == b"hello"
        assert sock.version() == "TLSv1.3"
