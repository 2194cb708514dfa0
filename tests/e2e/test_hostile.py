# SPDX-License-Identifier: Apache-2.0
"""What strangers and broken peers send: each has its reason, its deadline, and disturbs nobody else."""
import contextlib
import dataclasses
import os
import socket
import ssl
import time

import pytest

from foreign import MemoryClient, attempt, client_context, tls
from mesh import WEB, Agent, Service, connect, echo, exchange, how_it_ends, is_reset_or_closed, is_turned_away, read_all, wait_until
from pair import server_config, serving

LIMITS = {"handshake_ms": 700, "stall_ms": 700, "half_closed_ms": 700, "closing_ms": 700, "connect_ms": 2000}


@pytest.fixture(scope="module")
def server(authority):
    with serving(authority, limits=LIMITS) as agent:
        yield agent


@pytest.fixture(scope="module")
def web(authority):
    return authority.issue("web", WEB)


@pytest.fixture(scope="module")
def address(server):
    return server.address("127.0.0.1:0")


@pytest.fixture(scope="module")
def old_friend(address, authority, web):
    with tls(address, authority, web) as sock:
        yield sock


@pytest.fixture(autouse=True)
def undisturbed(server, old_friend):
    """Through every attack of this module, one connection goes on, and nothing crashed."""
    server.service.handler = echo
    pid = server.proxy_pid()
    yield
    assert exchange(old_friend, b"still here") == b"still here"
    assert server.proxy_pid() == pid, "the proxy was restarted"


def ends(server, mark, reason, seconds=5):
    line = server.wait_conn(mark, seconds, dir="inbound", reason=reason)
    wait_until(f"{reason} is counted", lambda: server.metric(
        "tabard_connections_closed_total", direction="inbound", reason=reason) >= 1)
    return line


def test_tls_1_2_gets_a_protocol_version_alert(server, address, authority, web):
    mark = server.mark()
    assert "PROTOCOL_VERSION" in str(attempt(address, authority, web, version=ssl.TLSVersion.TLSv1_2))
    ends(server, mark, "tls_version")


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00", b"SSH-2.0-x\r\n", b"\x80" * 100])
def test_plaintext_on_an_mtls_port_is_refused(server, address, text):
    mark, served = server.mark(), server.service.num_connections
    assert is_turned_away(address, say=text)
    ends(server, mark, "plaintext_on_mtls")
    assert server.service.num_connections == served


@pytest.mark.parametrize("record", [
    b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03", b"\x15\x03\x01\x00\x02\x02\x28"],
    ids=["empty record", "overlong record", "huge hello", "a ServerHello", "a hello of two bytes", "an alert"])
def test_a_broken_client_hello_is_refused(server, address, record):
    mark = server.mark()
    with connect(address) as sock:
        sock.sendall(record)
        with contextlib.suppress(OSError):  # it may be turned away before
            sock.shutdown(socket.SHUT_WR)
        assert is_reset_or_closed(sock)
    line = server.wait_conn(mark, dir="inbound")
    assert line["reason"] in ("tls_error", "plaintext_on_mtls", "peer_closed_in_handshake", "peer_alert"), line


def test_a_client_hello_in_one_byte_pieces_is_served(address, authority, web):
    client = MemoryClient(address, authority, web)

    def one_by_one(data):
        for at in range(len(data)):
            client.sock.sendall(data[at:at + 1])

    assert client.handshake(one_by_one).exchange(b"hello") == b"hello"
    client.close()


@pytest.mark.parametrize("sent", [0, 1, 5, 100])
def test_a_client_hello_that_never_ends_is_cut_off_at_its_deadline(server, address, authority, sent):
    mark = server.mark()
    client = MemoryClient(address, authority)
    client.sock.sendall(client.client_hello()[:sent])
    started = time.monotonic()
    assert is_reset_or_closed(client.sock)
    assert 0.5 < time.monotonic() - started < 3
    ends(server, mark, "handshake_timeout")


def test_a_client_hello_that_trickles_does_not_buy_time(server, address, authority):
    mark = server.mark()
    client = MemoryClient(address, authority)
    hello = client.client_hello()
    started = time.monotonic()
    with pytest.raises(OSError):
        for at in range(len(hello)):
            client.sock.sendall(hello[at:at + 1])
            client.sock.settimeout(0.05)
            try:
                if not client.sock.recv(1):
                    raise ConnectionError
            except socket.timeout:
                pass
    assert time.monotonic() - started < 3
    ends(server, mark, "handshake_timeout")


def test_a_certificate_message_over_the_limit_is_cut_off_before_anything_is_parsed(server, address, authority, web, tmp_path):
    leaf, root = web.chain.read_text(), authority.roots.read_text()
    for num_roots, detail in ((2, None), (100, "EXCESSIVE_MESSAGE_SIZE")):
        long_chain = tmp_path / f"{num_roots}.pem"
        long_chain.write_text(leaf + root * num_roots)
        mark = server.mark()
        answer = attempt(address, authority, dataclasses.replace(web, chain=long_chain))
        line = server.wait_conn(mark, dir="inbound")
        assert (answer == b"hello") == (detail is None), (num_roots, answer, line)
        assert line["reason"] == ("finished" if detail is None else "tls_error") and line.get("detail") == detail, line


def test_a_client_that_leaves_during_the_handshake_is_named_so(server, address, authority):
    mark = server.mark()
    client = MemoryClient(address, authority)
    client.sock.sendall(client.client_hello())
    client.sock.recv(1)
    client.sock.shutdown(socket.SHUT_WR)
    assert is_reset_or_closed(client.sock)
    ends(server, mark, "peer_closed_in_handshake")


def test_a_client_that_says_close_notify_still_hears_the_answer(server, address, authority, web):
    def reply_at_eof(sock):
        sock.sendall(b"got " + read_all(sock))

    server.service.handler = reply_at_eof
    mark = server.mark()
    client = MemoryClient(address, authority, web).handshake()
    client.tls.write(b"everything")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.sock.sendall(client.outgoing.read())
    answer = b""
    while b"got everything" not in answer:
        client.incoming.write(client.sock.recv(65536) or pytest.fail("closed before the answer"))
        with contextlib.suppress(ssl.SSLWantReadError):
            answer += client.tls.read(100)
    client.close()
    ends(server, mark, "finished")


def test_a_fin_without_close_notify_resets_the_application(server, address, authority, web):
    seen = []

    def watch(sock):
        try:
            while sock.recv(100):
                pass
            seen.append("clean end")
        except ConnectionResetError:
            seen.append("reset")

    server.service.handler = watch
    mark = server.mark()
    client = MemoryClient(address, authority, web).handshake()
    client.tls.write(b"half a request")
    client.sock.sendall(client.outgoing.read())
    client.sock.shutdown(socket.SHUT_WR)
    wait_until("the application noticed", lambda: seen)
    client.close()
    assert seen == ["reset"]
    ends(server, mark, "truncated")


def test_garbage_after_the_handshake_ends_the_connection(server, address, authority, web):
    mark = server.mark()
    client = MemoryClient(address, authority, web).handshake()
    assert client.exchange(b"hello") == b"hello"
    client.sock.sendall(b"\x17\x03\x03\x00\x40" + os.urandom(64))
    assert is_reset_or_closed(client.sock)
    ends(server, mark, "tls_error")


def test_a_peer_that_never_reads_is_ended_as_stalled(server, address, authority, web):
    def flood(sock):
        while True:
            sock.sendall(bytes(65536))

    server.service.handler = flood
    mark = server.mark()
    client = MemoryClient(address, authority, web)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.handshake()
    ends(server, mark, "stalled", seconds=10)
    client.close()


def test_an_application_that_refuses_is_named(keep, authority, web):
    service = Service()
    service.close()
    server = keep(Agent("payments", server_config(authority, service.address)))
    mark = server.mark()
    attempt(server.address("127.0.0.1:0"), authority, web)
    server.wait_conn(mark, dir="inbound", reason="connect_refused")


def test_a_half_closed_connection_is_ended_when_the_other_half_stays_silent(server, address, authority, web):
    def say_goodbye_and_stay(sock):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(100):
            pass

    server.service.handler = say_goodbye_and_stay
    mark = server.mark()
    with tls(address, authority, web) as sock:
        assert sock.recv(10) == b""
        ends(server, mark, "half_closed_timeout")


def test_an_idle_connection_is_ended(keep, authority, web, service):
    server = keep(Agent("payments", server_config(authority, service.address, limits={"idle_ms": 300})))
    mark = server.mark()
    with tls(server.address("127.0.0.1:0"), authority, web) as sock:
        assert exchange(sock, b"hello") == b"hello"
        server.wait_conn(mark, dir="inbound", reason="idle")


def test_more_connections_than_the_limit_wait_until_one_has_ended(keep, authority, web, service):
    server = keep(Agent("payments", server_config(authority, service.address, limits={"connections": 2})))
    address = server.address("127.0.0.1:0")
    one, two = (tls(address, authority, web) for _ in range(2))
    assert exchange(one, b"1") == b"1" and exchange(two, b"2") == b"2"
    mark = server.mark()
    with connect(address) as third:
        server.wait_line(mark, msg="callers wait: a limit is reached")
        assert exchange(one, b"1") == b"1"
        one.close()
        with client_context(authority, web).wrap_socket(third) as sock:
            assert exchange(sock, b"hello") == b"hello"
    two.close()
    assert server.metric("tabard_accept_pauses_total", direction="inbound") >= 1


def test_strangers_who_send_nothing_or_a_part_of_a_hello_hold_no_slot_of_the_handshakes(keep, authority, web, service):
    server = keep(Agent("payments", server_config(authority, service.address, limits={"handshakes": 1})))
    address = server.address("127.0.0.1:0")
    silent = [connect(address) for _ in range(20)]
    for sock in silent[:10]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    wait_until("all are awaited", lambda: server.metric("tabard_hellos_awaited") == 20)
    assert attempt(address, authority, web) == b"hello"
    for sock in silent:
        sock.close()


def test_strangers_beyond_the_limit_on_hellos_make_the_oldest_of_them_go(keep, authority, web, service):
    server = keep(Agent("payments", server_config(authority, service.address, limits={"hellos": 5})))
    address = server.address("127.0.0.1:0")
    silent = [connect(address) for _ in range(5)]
    wait_until("all are awaited", lambda: server.metric("tabard_hellos_awaited") == 5)
    mark = server.mark()
    assert attempt(address, authority, web) == b"hello"
    assert how_it_ends(silent[0]) == "reset"
    server.wait_conn(mark, reason="limit_hellos")
    for sock in silent:
        sock.close()


def test_a_whole_hello_and_then_silence_gives_its_slot_to_who_comes(keep, authority, web, service):
    server = keep(Agent("payments", server_config(authority, service.address, limits={"handshakes": 1})))
    address = server.address("127.0.0.1:0")
    silent = MemoryClient(address, authority, web)
    silent.sock.sendall(silent.client_hello())
    wait_until("it has the slot", lambda: server.metric("tabard_handshakes_in_flight", direction="inbound") == 1)
    mark = server.mark()
    assert attempt(address, authority, web) == b"hello"
    server.wait_conn(mark, reason="limit_handshakes")
    silent.close()


def test_a_hundred_silent_strangers_leave_the_rest_in_peace(server, address, authority, web):
    silent = [connect(address) for _ in range(100)]
    assert attempt(address, authority, web) == b"hello"
    wait_until("the strangers are gone", lambda: server.metric("tabard_connections_open", direction="inbound") <= 1)
    for sock in silent:
        sock.close()
