# SPDX-License-Identifier: Apache-2.0
"""Who takes much, reads nothing or says little: it costs the others neither their connections nor their time, nor the
sidecar much memory."""
import contextlib
import os
import socket
import ssl
import threading
import time

import pytest

from foreign import MemoryClient, attempt, client_context, tls
from mesh import WEB, Agent, connect, echo, exchange, is_sanitized, wait_until
from pair import allow, server_config, serving

MUCH = 16 << 20


def much_or_echo(sock):
    """A caller whose first byte is an "m" gets much, any other gets its bytes back."""
    first = sock.recv(1)
    if first == b"m":
        sock.sendall(bytes(MUCH))
    else:
        sock.sendall(first)
        echo(sock)


def one_who_reads_nothing(address, context):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    sock.connect(address)
    sock = context.wrap_socket(sock)
    sock.sendall(b"m")
    return sock


def test_readers_that_stall_cost_no_other_its_connection(authority, keep):
    web = authority.issue("web", WEB)
    with serving(authority, handler=much_or_echo, limits={"buffer_bytes": 1 << 20}) as server, contextlib.ExitStack() as stack:
        address = server.address("127.0.0.1:0")
        live = [stack.enter_context(tls(address, authority, web)) for _ in range(10)]
        assert [exchange(sock, b"x") for sock in live] == [b"x"] * len(live)
        context, mark = client_context(authority, web), server.mark()
        for _ in range(40):
            stack.enter_context(one_who_reads_nothing(address, context))
        wait_until("they hold three quarters of the memory", lambda: server.metric("tabard_buffer_bytes") >= 12 << 16, 20)
        got = []
        for sock in live:
            with contextlib.suppress(OSError):
                got.append(exchange(sock, b"y"))
        assert got == [b"y"] * len(live), f"{got.count(b'y')} of {len(live)} were still served"
        with tls(address, authority, web) as sock:
            assert exchange(sock, b"hello") == b"hello", "a new one is served, too"
        ended = server.lines(mark, msg="conn", reason="limit_buffers")
        assert ended and all("the peer has taken next to nothing for" in line["detail"] for line in ended), ended
        assert all(int(line["down"]) > 0 for line in ended), "only those that had taken nothing go"
        assert server.metric("tabard_buffer_waits_total") > 0


def test_an_identity_that_leaks_connections_takes_nobody_else_s_place(authority, keep, service):
    config = server_config(authority, service.address, limits={"connections": 8, "identity_connections": 5})
    other = WEB + "-too"
    config["policies"] = [allow("both-may-pay", WEB, other)]
    server = keep(Agent("payments", config))
    address, mark = server.address("127.0.0.1:0"), server.mark()
    leaking = [authority.issue("web", WEB), authority.issue("web", WEB)]  # a renewed certificate is the same identity
    modest = authority.issue("other", other)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(tls(address, authority, leaking[i % 2])) for i in range(7)]  # and it ends none
        assert attempt(address, authority, modest) == b"hello"
        assert [exchange(sock, b"x") for sock in held[:5]] == [b"x"] * 5
        got = [attempt(address, authority, certificate) for certificate in leaking * 2]
        assert got == ["TLSV1_ALERT_INTERNAL_ERROR"] * 4
        assert server.wait_conn(mark, reason="limit_identity")["peer"] == WEB
        assert server.metric("tabard_connections_closed_total", direction="inbound", reason="limit_identity") == 6
        assert [exchange(sock, b"y") for sock in held[:5]] == [b"y"] * 5, "what it had before goes on"
        mark = server.mark()
        held[0].unwrap().close()
        server.wait_conn(mark, reason="finished", peer=WEB)
        assert attempt(address, authority, leaking[1]) == b"hello", "there is room for it again"


class SteadyReader(threading.Thread):
    """One who reads slowly, but reads: 80 KB a second."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock, self.num_read, self.stop = sock, 0, threading.Event()

    def run(self):
        with contextlib.suppress(OSError):
            while not self.stop.wait(0.1) and (part := self.sock.recv(8192)):
                self.num_read += len(part)


def test_who_reads_slowly_is_not_taken_for_one_that_stalls(authority):
    web = authority.issue("web", WEB)
    with serving(authority, handler=much_or_echo, limits={"buffer_bytes": 1 << 20}) as server, contextlib.ExitStack() as stack:
        address, context, mark = server.address("127.0.0.1:0"), client_context(authority, web), server.mark()
        steady = [SteadyReader(stack.enter_context(one_who_reads_nothing(address, context))) for _ in range(6)]
        sources = {str(reader.sock.getsockname()[1]) for reader in steady}
        for reader in steady:
            reader.start()
        wait_until("they all hold memory", lambda: server.metric("tabard_buffer_bytes") >= 6 << 16, 20)
        for _ in range(30):
            stack.enter_context(one_who_reads_nothing(address, context))
        wait_until("those who read nothing go", lambda: len(server.lines(mark, msg="conn", reason="limit_buffers")) >= 18, 20)
        for reader in steady:
            reader.stop.set()
            reader.join()
        ended = {line["src"].rsplit(":", 1)[1] for line in server.lines(mark, msg="conn", reason="limit_buffers")}
        assert not ended & sources, f"{len(ended & sources)} of {len(sources)} steady readers had to go"
        assert all(reader.num_read > 8192 for reader in steady)


class Flood(threading.Thread):
    """One peer that sends records of one byte as fast as the sidecar takes them."""

    def __init__(self, address, authority, certificate, records):
        super().__init__(daemon=True)
        self.client = MemoryClient(address, authority, certificate).handshake()
        for _ in range(records):
            self.client.tls.write(b"s")  # the service knows it by it
        self.wire = self.client.outgoing.read()

    def run(self):
        with contextlib.suppress(OSError):
            self.client.sock.sendall(self.wire)


def test_records_of_one_byte_hold_up_nobody(authority):
    web, arrived, num_floods, num_records = authority.issue("web", WEB), [], 8, 60000

    def listen_or_echo(sock):
        first = sock.recv(1)
        if first != b"s":
            sock.sendall(first)
            echo(sock)
        while data := sock.recv(65536):
            arrived.append(len(data))

    with serving(authority, handler=listen_or_echo) as server, contextlib.ExitStack() as stack:
        address = server.address("127.0.0.1:0")
        sock = stack.enter_context(tls(address, authority, web))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        floods = [Flood(address, authority, web, num_records) for _ in range(num_floods)]
        exchange(sock, b"p")
        for flood in floods:
            stack.enter_context(contextlib.closing(flood.client))
            flood.start()
        took = []
        while sum(arrived) < num_floods * (num_records - 1):
            begun = time.monotonic()
            assert exchange(sock, b"p") == b"p"
            took.append((time.monotonic() - begun) * 1000)
        took.sort()
        p99 = took[int(len(took) * 0.99)]
        assert p99 < 20, f"{len(took)} round trips: median {took[len(took) // 2]:.1f} ms, p99 {p99:.1f} ms, longest {took[-1]:.1f} ms"


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


STRANGERS = 2000

# What each of them sends, of the ClientHello that it could send, and what it may cost.
SENT = {
    "nothing": (lambda hello: b"", 2560),
    "the beginning of a long record": (lambda hello: b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xf0", 4608),
    "half a hello": (lambda hello: hello[:len(hello) // 2], 4608),
    "a long hello but for its end": (lambda hello: b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xf0" + bytes(15900), 19500),
    # With OpenSSL 3.5 it has a key share for X25519MLKEM768, of 1,216 bytes.
    "a hello": (lambda hello: hello, 11000 if ssl.OPENSSL_VERSION_INFO >= (3, 5) else 9500),
}


@pytest.mark.skipif(is_sanitized(), reason="the programs are built with a sanitizer, which takes memory of its own")
@pytest.mark.parametrize("sent", SENT)
def test_a_stranger_costs_little_memory_and_gives_it_back(authority, sent):
    part_of, bytes_max = SENT[sent]
    with serving(authority, limits={"handshake_ms": 60000, "hello_ms": 60000}) as server, contextlib.ExitStack() as stack:
        address, pid = server.address("127.0.0.1:0"), server.proxy_pid()
        assert attempt(address, authority, authority.issue("web", WEB)) == b"hello"
        before = resident_bytes(pid)
        for _ in range(STRANGERS):
            client = stack.enter_context(contextlib.closing(MemoryClient(address, authority)))
            client.sock.sendall(part_of(client.client_hello()))
        wait_until("all are there", lambda: server.metric("tabard_connections_open") == STRANGERS)
        if sent == "a hello":
            wait_until("all have their answer", lambda: server.metric("tabard_handshakes_in_flight") == STRANGERS)
        elif sent != "nothing":
            wait_until("what they sent is read", lambda: server.metric("tabard_buffer_bytes") >= STRANGERS * 2048)
        each = (resident_bytes(pid) - before) / STRANGERS
        stack.close()
        wait_until("all are gone", lambda: server.metric("tabard_connections_open") == 0)

        def kept():
            return (resident_bytes(pid) - before) / STRANGERS

        print(f"{sent}: {each:.0f} bytes for each, {kept():.0f} kept at first")
        assert each < bytes_max
        wait_until("most of it is given back", lambda: kept() < each / 4, 15)
