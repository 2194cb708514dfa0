# SPDX-License-Identifier: Apache-2.0
"""Strangers at the webhook, while an API server goes on asking from another host: none of its reviews may fail."""
import concurrent.futures
import contextlib
import os
import shutil
import socket
import ssl
import struct
import time

import pytest
from policyd_process import wait_until
from webhook_process import NAME, POD, Webhook, call, review_of

import netns

FEW = 40  # sources, of the thousands that the strangers' host has
MIB = 2**20

pytestmark = [pytest.mark.skipif(netns.why_not() is not None, reason=f"{netns.why_not()}"),
              pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")]


@pytest.fixture(scope="module")
def network():
    made = netns.Network("webhook", ["policyd", "api", "mob"])
    netns.ip("-n", made["mob"].name, "route", "add", "local", "10.88.0.0/16", "dev", "lo")
    netns.ip("-n", made["policyd"].name, "route", "add", "10.88.0.0/16", "via", made["mob"].ipv4)
    yield made
    made.close()


@pytest.fixture(scope="module")
def webhook(network):
    with contextlib.closing(Webhook(netns=network["policyd"])) as made:
        yield made


class Mob:
    """Strangers with many addresses."""

    def __init__(self, network, webhook):
        self.host, self.webhook, self.sockets = network["mob"], webhook, []
        self.context = ssl.create_default_context(cafile=webhook.roots)

    def connect(self, number=0):
        with self.host.entered():
            made = socket.socket()
            made.bind((f"10.88.{number // 250}.{number % 250 + 1}", 0))
            made.settimeout(10)
            made.connect(self.webhook.at)
        self.sockets.append(made)
        return made

    def connect_tls(self, number=0):
        made = self.context.wrap_socket(self.connect(number), server_hostname=NAME)
        self.sockets[-1] = made
        return made

    def close(self):
        for made in self.sockets:
            made.close()


@pytest.fixture(scope="module")
def mob(network, webhook):
    """None of those that have had no answer leaves before the last test has looked whether all are gone."""
    with contextlib.closing(Mob(network, webhook)) as made:
        yield made


def resident_mib(webhook):
    pages = int(open(f"/proc/{webhook.process.pid}/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def under(network, webhook, attack, seconds=2):
    """An API server asks 50 times a second while the attack runs, until both are over."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asking = pool.submit(call, webhook, 50, seconds, network["api"])
        before = webhook.reviews("patched")
        wait_until("the API server is served", lambda: webhook.reviews("patched") > before + 10)
        attack()
        got = asking.result()
    print(attack, got, f"{resident_mib(webhook):.0f} MiB")
    assert got["failed"] == {} and got["asked"] > 40 * seconds, got
    return got


def post(length, body=b""):
    return (f"POST /inject HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n").encode() + body


def test_two_thousand_connections_that_say_nothing(network, webhook, mob):
    under(network, webhook, lambda: [mob.connect(number % FEW) for number in range(2000)])
    assert webhook.metrics()["webhook_connections"] <= 1280
    assert webhook.metrics()['webhook_connections_ended_total{why="room"}'] > 900


def test_more_connections_than_there_may_be_that_are_idle_after_their_handshake_each_of_a_source_of_its_own(network, webhook, mob):
    def attack():
        for number in range(1300):
            with contextlib.suppress(OSError):  # it may be the one that goes
                mob.connect_tls(number)
    under(network, webhook, attack, 6)
    assert webhook.metrics()["webhook_connections"] <= 1280


def overflows(host):
    """How often the host's kernel had no place for a connection that waited to be accepted."""
    with host.entered():
        names, numbers = (line.split() for line in open("/proc/thread-self/net/netstat").readlines()[:2])
    return int(numbers[names.index("ListenOverflows")])


def test_three_thousand_connections_at_once_leave_room_for_those_that_come_next(network, webhook, mob):
    before = overflows(network["policyd"])

    def attack():
        with mob.host.entered(), contextlib.ExitStack() as stack:
            for number in range(3000):
                made = stack.enter_context(socket.socket())
                made.setblocking(False)
                made.bind((f"10.88.{number % FEW}.9", 0))
                made.connect_ex(webhook.at)
            time.sleep(0.5)
    under(network, webhook, attack)
    assert overflows(network["policyd"]) == before


def test_hellos_that_are_repeated_as_fast_as_can_be(network, webhook, mob):
    coming, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        mob.context.wrap_bio(coming, hello, server_hostname=NAME).do_handshake()
    text, until = hello.read(), time.monotonic() + 2

    def attack():
        with mob.host.entered():
            while time.monotonic() < until:  # each costs the webhook a signature, and the stranger nothing
                with contextlib.ExitStack() as stack:
                    crowd = [stack.enter_context(socket.create_connection(webhook.at, 10)) for _ in range(64)]
                    for made in crowd:
                        made.sendall(text)
                    for made in crowd:
                        made.recv(1)
    got = under(network, webhook, attack)
    assert got["p99_ms"] < 1000, got


def test_bodies_that_drip(network, webhook, mob):
    def attack():
        dripping = [mob.connect_tls(number) for number in range(200)]
        for made in dripping:
            made.sendall(post(10 * MIB))
        for _ in range(10):
            for made in dripping:
                with contextlib.suppress(OSError):
                    made.sendall(b"[")
            time.sleep(0.1)
    under(network, webhook, attack)


def test_many_long_bodies_at_once_take_no_more_memory_than_they_may(network, webhook, mob):
    before = resident_mib(webhook)

    def send(number):
        with contextlib.suppress(OSError):
            made = mob.connect_tls(number)
            made.sendall(post(10 * MIB, b" " * (10 * MIB - 1)))  # all but the last byte
            made.recv(1)

    def attack():
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            for number in range(12):
                pool.submit(send, number)
            wait_until("some are refused", lambda: webhook.metrics()['webhook_connections_ended_total{why="room"}'] >= 5)
            assert resident_mib(webhook) - before < 100, resident_mib(webhook)
            for made in mob.sockets:
                with contextlib.suppress(OSError):
                    made.shutdown(socket.SHUT_RDWR)
    under(network, webhook, attack, 6)


def test_reviews_that_take_long_to_read_wait_behind_short_ones(network, webhook, mob):
    pod = POD | {"more": [[0] * 150000]}
    long = review_of(pod | {"metadata": {"name": "a", "annotations": {"x": "y" * (6 * MIB)}}}).encode()

    def send(number):
        made = mob.connect_tls(number)
        for _ in range(3):
            made.sendall(post(len(long), long))
            made.recv(65536)
        made.close()

    def attack():
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(send, range(4)))
    under(network, webhook, attack, 6)
    assert resident_mib(webhook) < 250


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x40\x01" + b"x" * 20000, b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n",
                                  b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\x00\x20" + b"z" * 32, b"\x80\x2e\x01\x03\x01", b"\0" * 5])
def test_junk_instead_of_a_hello_ends_its_connection(webhook, mob, junk):
    made = mob.connect()
    made.sendall(junk)
    made.settimeout(8)
    with contextlib.suppress(ConnectionResetError):
        while made.recv(100):
            pass


def test_junk_under_an_open_session_ends_its_connection(webhook, mob):
    for junk in (b"\x16\x03\x03\x00\x04\0\0\0\0", b"\x17\x03\x03\x00\x20" + b"z" * 32, b"\x14\x03\x03\x00\x01\x01"):
        made = mob.connect_tls()
        made.sendall(post(3)[:-2])  # a head without its end
        raw = socket.socket(fileno=os.dup(made.fileno()))
        raw.sendall(junk)  # a HelloRequest, a record that nobody sealed, a ChangeCipherSpec
        raw.settimeout(8)
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(1000):
                pass
        raw.close()


def test_heads_without_end_are_cut_off(webhook, mob):
    made = mob.connect_tls()
    with contextlib.suppress(OSError):
        made.sendall(b"POST /inject HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * MIB)
    with contextlib.suppress(OSError):
        assert made.recv(100).startswith(b"HTTP/1.1 431") or True


def test_clients_that_close_one_half_leave_nothing(webhook, mob):
    body = review_of(POD).encode()
    for said in (post(len(body), body), post(len(body), body[:50]), post(len(body)), post(len(body))[:-2]):
        made = mob.connect_tls()
        made.sendall(said)
        socket.socket(fileno=os.dup(made.fileno())).shutdown(socket.SHUT_WR)


def test_a_client_that_reads_no_answer_is_closed_in_time(webhook, mob):
    body = review_of(POD).encode()
    made = mob.connect_tls()
    made.settimeout(0.5)
    with contextlib.suppress(OSError):
        for _ in range(2000):
            made.sendall(post(len(body), body))


def test_connections_that_are_reset_in_each_step_leave_nothing(network, webhook, mob):
    body = review_of(POD).encode()

    def reset(made):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.close()

    def attack():
        for said in (b"", b"\x16\x03\x01", post(len(body)), post(len(body), body[:20]), post(len(body), body)):
            for number in range(20):
                is_raw = said in (b"", b"\x16\x03\x01")
                made = mob.connect(number) if is_raw else mob.connect_tls(number)
                made.sendall(said)
                reset(made)
    under(network, webhook, attack)


def test_in_the_end_all_of_them_are_gone_though_none_has_left(webhook, mob):
    wait_until("nobody is left", lambda: webhook.metrics()["webhook_connections"] == 0, 25)
    assert webhook.reviews("malformed") == 0
    assert webhook.metrics()['webhook_connections_ended_total{why="late"}'] >= 200
    assert resident_mib(webhook) < 250
