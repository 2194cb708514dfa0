# SPDX-License-Identifier: Apache-2.0
"""What is not the usual stream of bytes: answers long after an end, late resets, urgent bytes, readers that pause."""
import contextlib
import socket
import struct
import threading
import time

import pytest

from foreign import MemoryClient
from mesh import API, PROGRAMS, WEB, Agent, Service, connect, read_all, wait_until
from pair import Pair, allow, bundles, identity, server_config

PORTS = (8080, 8081)
WORLD = ["10.77.0.0/16", "fd77::/64"]


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def error_of(sock):
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def pair_in(mode, authority, handler):
    """A pair that speaks TLS if the mode is MTLS, and plaintext otherwise."""
    pair = Pair(authority, handler=handler, mode=mode)
    if mode != "MTLS":
        pair.server.config["policies"].append({"name": "lan", "action": "ALLOW", "mode": "ENFORCE",
                                               "rules": [{"source_ips": ["127.0.0.0/8"]}]})
        pair.client.config["destinations"][0].update(mode="PLAINTEXT")
        del pair.client.config["destinations"][0]["identities"]
        for agent in pair.agents():
            agent.apply()
    return pair


def forget_half_closed(host, seconds):
    for state in ("close_wait", "fin_wait"):
        host.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_tcp_timeout_{state}={seconds}")


@contextlib.contextmanager
def intercepted(network, authority, seconds):
    """shop and payments behind sidecars, on hosts that forget a silent half-closed connection after so many seconds."""
    with contextlib.ExitStack() as stack:
        for name, spiffe_id in (("shop", WEB), ("payments", API)):
            host = network[name]
            forget_half_closed(host, seconds)
            stack.callback(forget_half_closed, host, 60)
            config = {"identity": identity(authority.issue(spiffe_id.rsplit("/", 1)[1], spiffe_id)), "trust_bundles": bundles(authority),
                      "policies": [allow("shop-may-pay", WEB, ports=PORTS)],
                      "destinations": [{"name": "all", "addresses": WORLD, "ports": list(PORTS), "mode": "MTLS", "identities": [API]}],
                      "settings": {"interception": {}, "drain_seconds": 1}}
            stack.callback(Agent(name, config, netns=host).close)
            host.run(PROGRAMS["tabardctl"], "intercept", "up")
            stack.callback(host.run, PROGRAMS["tabardctl"], "intercept", "down")
        yield


FORGOTTEN_SECONDS, SILENCE_SECONDS = 3, 5


def end_long_before(sock, is_first, heard):
    """One end of a connection: of both directions, one ends at once and the other long after its last byte but one."""
    try:
        sock.sendall(b"something, ")
        if not is_first:
            time.sleep(SILENCE_SECONDS)
            sock.sendall(b"then the rest")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
    except OSError as error:
        heard.append(str(error))


def test_connection_tracking_does_not_forget_a_half_closed_connection(network, authority):
    """It forgets a silent one after a minute by default, and then the answer finds no way back."""
    shop, payments, heard = network["shop"], network["payments"], []

    def call(address, port):
        with connect((address, port), shop, seconds=SILENCE_SECONDS + 5) as sock:
            end_long_before(sock, port == 8080, heard)

    def serve(sock):
        sock.settimeout(SILENCE_SECONDS + 5)
        end_long_before(sock, sock.getsockname()[1] != 8080, heard)

    with intercepted(network, authority, FORGOTTEN_SECONDS), contextlib.ExitStack() as stack:
        threads = []
        for address in (payments.ipv4, payments.ipv6):
            for port in PORTS:  # at the first the caller's direction ends first, at the second the service's
                stack.callback(Service(serve, address=(address, port), netns=payments).close)
                threads.append(threading.Thread(target=call, args=(address, port)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until("all is heard", lambda: len(heard) == 8)
    assert sorted(heard) == 4 * [b"something, "] + 4 * [b"something, then the rest"], heard


@pytest.mark.parametrize("who", ["caller", "service"])
@pytest.mark.parametrize("mode", ["MTLS", "PLAINTEXT"])
def test_a_reset_after_a_clean_end_reaches_the_other_application(authority, keep, who, mode):
    """Nothing is read any more of the side that ended, and nothing is written to it."""
    served, over = [], threading.Event()

    def wait(sock):
        served.append(sock)
        over.wait(20)

    pair = keep(pair_in(mode, authority, wait))
    caller = pair.connect()
    wait_until("the service is called", lambda: served)
    one, other = (caller, served[0]) if who == "caller" else (served[0], caller)
    one.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""
    reset(one)
    wait_until("the other end is reset", lambda: error_of(other), seconds=3)
    over.set()
    other.close()


def test_a_foreign_peer_s_reset_after_its_close_notify_reaches_the_service(authority, keep):
    served = []

    def wait(sock):
        served.append(sock)
        wait_until("the service is reset", lambda: error_of(sock), seconds=5)
        served.append("reset")

    agent = keep(Agent("payments", server_config(authority, keep(Service(wait)).address)))
    client = MemoryClient(agent.address("127.0.0.1:0"), authority, authority.issue("web", WEB)).handshake()
    with contextlib.suppress(OSError):
        client.tls.unwrap()
    client.sock.sendall(client.outgoing.read())
    wait_until("the service heard the end", lambda: served and served[0].recv(1) == b"")
    reset(client.sock)
    wait_until("the reset is passed on", lambda: served[-1] == "reset")
    agent.wait_conn(reason="peer_reset")


def say_with_urgent_bytes(sock):
    """As telnet, rlogin and FTP's ABOR do; the first and the last byte of the stream are urgent, too."""
    for part, flags in ((b"!", socket.MSG_OOB), (b"before ", 0), (b"\xff\xf2", socket.MSG_OOB), (b" after", 0), (b"?", socket.MSG_OOB)):
        sock.send(part, flags)
        time.sleep(0.02)  # the kernel keeps one mark: each is to be met by the reader


URGENT = b"!before \xff\xf2 after?"


@pytest.mark.parametrize("mode", ["MTLS", "PERMISSIVE", "PLAINTEXT"])
def test_an_urgent_byte_is_part_of_the_stream_in_both_directions(authority, keep, mode):
    """RFC 6093, section 6. The answer comes when the caller's direction is closed."""
    heard = []

    def answer(sock):
        heard.append(read_all(sock))
        say_with_urgent_bytes(sock)

    pair = keep(pair_in(mode, authority, answer))
    with pair.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        say_with_urgent_bytes(sock)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == URGENT
    assert heard == [URGENT]


@pytest.mark.parametrize("who", ["the service", "the peer"])
def test_the_log_says_who_does_not_read(authority, keep, who):
    """Of two sidecars that wait for one reader, the one beside it ends the connection and blames it; the other was told."""
    def flood(sock):
        while True:
            sock.sendall(bytes(65536))

    quick, slow = {"limits": {"stall_ms": 500}}, {"limits": {"stall_ms": 60000}}
    pair = keep(Pair(authority, handler=flood, client_settings=quick if who == "the service" else slow,
                     server_settings=slow if who == "the service" else quick))
    with pair.connect():
        blamer, told = (pair.client, pair.server) if who == "the service" else (pair.server, pair.client)
        assert blamer.wait_conn(reason="stalled")["detail"] == f"{who} does not read"
        if who == "the service":
            assert told.wait_conn(reason="peer_alert")["detail"] == "internal error"
