# SPDX-License-Identifier: Apache-2.0
"""What goes in at one service comes out at the other: bytes, ends, order, back-pressure."""
import hashlib
import os
import random
import signal
import socket
import struct
import subprocess
import threading

import pytest

from foreign import MemoryClient
from mesh import WEB, connect, echo, exchange, how_it_ends, read_all, wait_until
from pair import Pair


def send_in_chunks(sock, data, seed):
    """Sends all of it in pieces of random size, then ends this direction."""
    sizes = random.Random(seed)
    at = 0
    while at < len(data):
        size = sizes.choice([1, 7, 1400, 16383, 16384, 16385, 65536, 300000])
        sock.sendall(data[at:at + size])
        at += size
    sock.shutdown(socket.SHUT_WR)


def with_handler(pair, handler):
    pair.service.handler = handler
    return pair


@pytest.fixture(autouse=True)
def echo_again(pair):
    yield
    pair.service.handler = echo


def test_a_service_answers_through_two_sidecars(pair):
    mark_client, mark_server = pair.client.mark(), pair.server.mark()
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    out = pair.client.wait_conn(mark_client, dir="outbound", reason="finished")
    assert (out["peer"], out["up"], out["down"]) == ("spiffe://demo.example/ns/payments/sa/api", "5", "5")
    inside = pair.server.wait_conn(mark_server, dir="inbound", reason="finished")
    assert inside["peer"] == "spiffe://demo.example/ns/shop/sa/web"
    assert (inside["rule"], inside["up"], inside["down"]) == ("shop-may-pay#0", "5", "5")


@pytest.mark.parametrize("size", [1, 2, 16383, 16384, 16385, 1 << 20, 32 << 20])
def test_bytes_arrive_intact_both_ways_at_once(pair, size):
    there, back = random.Random(size).randbytes(size), random.Random(~size).randbytes(size)
    heard = []

    def talk(sock):
        sender = threading.Thread(target=send_in_chunks, args=(sock, back, 1))
        sender.start()
        heard.append(hashlib.sha256(read_all(sock)).digest())
        sender.join()

    with_handler(pair, talk)
    with pair.connect(seconds=30) as sock:
        sender = threading.Thread(target=send_in_chunks, args=(sock, there, 2))
        sender.start()
        got = read_all(sock)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(back).digest() and len(got) == size
    assert wait_until("the service read to the end", lambda: heard)[0] == hashlib.sha256(there).digest()


def test_a_client_that_half_closes_still_receives_the_reply(pair):
    def reply_at_eof(sock):
        request = read_all(sock)
        sock.sendall(b"got " + request)

    with_handler(pair, reply_at_eof)
    with pair.connect() as sock:
        sock.sendall(b"everything")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"got everything"


def test_a_server_that_half_closes_still_hears_the_client(pair):
    heard = []

    def stop_talking(sock):
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))

    with_handler(pair, stop_talking)
    with pair.connect() as sock:
        assert read_all(sock) == b"bye"
        sock.sendall(b"one more thing")
        sock.shutdown(socket.SHUT_WR)
        wait_until("the service heard the rest", lambda: heard)
    assert heard == [b"one more thing"]


def test_a_hundred_half_closes_in_a_row_lose_no_byte(pair):
    """The end must not overtake the data that was sent just before it."""
    def reply_at_eof(sock):
        sock.sendall(hashlib.sha256(read_all(sock)).digest())
        sock.shutdown(socket.SHUT_WR)

    with_handler(pair, reply_at_eof)
    for number in range(100):
        data = random.Random(number).randbytes(random.Random(number).choice([0, 1, 16384, 70000]))
        with pair.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == hashlib.sha256(data).digest()


def test_a_server_may_speak_first(pair):
    def greet(sock):
        sock.sendall(b"220 ready\r\n")
        echo(sock)

    with_handler(pair, greet)
    with pair.connect() as sock:
        assert sock.recv(100) == b"220 ready\r\n"
        assert exchange(sock, b"EHLO") == b"EHLO"


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_arrives_as_a_reset_never_as_a_clean_end(pair, who, size):
    ended = []

    def serve(sock):
        sock.sendall(bytes(size))
        if who == "server":
            sock.recv(1)
            reset(sock)
        else:
            ended.append(how_it_ends(sock))

    with_handler(pair, serve)
    with pair.connect() as sock:
        left = size
        while left > 0:
            left -= len(sock.recv(left))
        sock.sendall(b"x")
        if who == "client":
            reset(sock)
            wait_until("the service's connection ended", lambda: ended)
            assert ended == ["reset"]
        else:
            assert how_it_ends(sock) == "reset"


def test_a_far_sidecar_that_dies_is_a_reset_for_both_applications(authority, keep):
    pair, ended = keep(Pair(authority)), []

    def serve(sock):
        sock.sendall(b"half an answer")
        ended.append(how_it_ends(sock))

    pair.service.handler = serve
    with pair.connect() as sock:
        assert sock.recv(100) == b"half an answer"
        os.kill(pair.server.proxy_pid(), signal.SIGKILL)
        assert how_it_ends(sock) == "reset"
        # To the service its own dead sidecar is the kernel's doing: it may end either way, but it ends.
        wait_until("the service's connection ended", lambda: ended)


def test_a_slow_reader_slows_its_sender_and_fills_no_memory(pair):
    more = threading.Event()

    def read_late(sock):
        more.wait(20)
        sock.sendall(str(len(read_all(sock))).encode())

    with_handler(pair, read_late)
    with pair.connect() as sock:
        sock.setblocking(False)
        sent = stuck = 0
        # What fits into the kernel's and Tabard's buffers is bounded; the rest waits at the sender.
        while stuck < 50:
            try:
                sent += sock.send(bytes(65536))
                stuck = 0
            except BlockingIOError:
                stuck += 1
                threading.Event().wait(0.01)
            assert sent < 128 << 20, "nothing ever pushed back"
        held = pair.client.metric("tabard_buffer_bytes") + pair.server.metric("tabard_buffer_bytes")
        assert held < 4 << 20
        more.set()
        sock.setblocking(True)
        sock.shutdown(socket.SHUT_WR)
        assert int(read_all(sock)) == sent


def record_sizes(wire):
    """The sizes of the TLS records on the wire (RFC 8446, section 5.1)."""
    at = 0
    while at < len(wire):
        size = int.from_bytes(wire[at + 3:at + 5], "big")
        yield size
        at += 5 + size


def test_small_messages_become_full_records_when_the_reader_is_behind(pair):
    message, sent = bytes(200), []

    def talk_until_stuck(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sock.settimeout(0.5)
        num = 0
        try:
            while True:
                num += sock.send(message)
        except TimeoutError:
            sent.append(num)
            sock.shutdown(socket.SHUT_WR)

    with_handler(pair, talk_until_stuck)
    client = MemoryClient(pair.inbound, pair.authority, pair.authority.issue("late", WEB)).handshake()
    wait_until("nothing more goes in", lambda: sent, seconds=30)
    wire = b""
    while part := client.sock.recv(1 << 20):
        wire += part
    sizes = list(record_sizes(wire))
    client.close()
    overhead = 17  # the content type and the tag
    full = sum(size - overhead for size in sizes if size > 15000)
    assert sum(sizes) - overhead * len(sizes) == sent[0] + 2, "all of it, and close_notify"
    # Only what came while the socket still took everything went out in smaller pieces.
    assert full > 0.7 * sent[0], (full, sent[0], len(sizes))


def test_a_hundred_connections_at_once_don_t_mix(pair):
    wrong = []

    def one(number):
        data = random.Random(number).randbytes(50000)
        with pair.connect(seconds=30) as sock:
            for _ in range(3):
                if exchange(sock, data) != data:
                    wrong.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_several_workers_share_the_connections(authority, keep, host):
    pair = keep(Pair(authority, workers=2, listen=f"{host}:0"))
    pair.client.config["forwards"].append({"listen": "[::1]:0", "destination": pair.client.config["forwards"][0]["destination"]})
    pair.client.apply()
    for configured in ("127.0.0.1:0", "[::1]:0"):
        for _ in range(10):
            with connect(pair.client.address(configured)) as sock:
                assert exchange(sock, b"hello") == b"hello"
    assert pair.service.num_connections == 20


def test_the_smallest_buffer_limit_still_serves_on_many_workers(authority, keep):
    # 1 MiB for 16 workers would be one block each, and a relay needs several.
    smallest = {"limits": {"buffer_bytes": 1 << 20}}
    pair = keep(Pair(authority, server_settings=smallest, client_settings=smallest, workers=16))
    data = random.Random(16).randbytes(1 << 20)
    for _ in range(4):
        with pair.connect() as sock:
            sender = threading.Thread(target=send_in_chunks, args=(sock, data, 3))
            sender.start()
            assert read_all(sock) == data
            sender.join()


def test_all_four_sockets_are_kept_alive_by_the_kernel(pair):
    with pair.connect() as sock:
        assert exchange(sock, b"x") == b"x"
        ports = {str(pair.inbound[1]), str(pair.service.address[1]), str(sock.getpeername()[1])}

        def kept_alive():
            table = subprocess.run(["ss", "-tnoH", "state", "established"], capture_output=True, text=True).stdout
            lines = [line for line in table.splitlines() if ports & set(line.replace(":", " ").split())]
            # Six sockets: the two that this test holds have no timer. While data is unacknowledged another timer shows.
            return sum("keepalive" in line for line in lines) == 4

        wait_until("the application's and the mesh's sockets of both sidecars have the timer", kept_alive)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_an_application_that_resets_once_it_has_heard_all_is_no_fault_and_no_clean_end(keep, authority):
    def part(sock):
        sock.sendall(read_all(sock) + b" heard")  # all that its caller says, and its end
        reset(sock)

    pair = keep(Pair(authority, handler=part))
    mark = pair.server.mark()
    with pair.connect() as sock:
        sock.sendall(b"goodbye")
        sock.shutdown(socket.SHUT_WR)
        assert how_it_ends(sock) == "reset"
    pair.server.wait_conn(mark, dir="inbound", reason="reset_after_end")


def test_a_caller_that_resets_once_it_has_heard_all_is_no_fault_and_no_clean_end(keep, authority):
    ends = []

    def say_and_wait(sock):
        sock.sendall(b"all that there is")
        sock.shutdown(socket.SHUT_WR)
        ends.append(how_it_ends(sock))

    pair = keep(Pair(authority, handler=say_and_wait))
    mark = pair.client.mark()
    sock = pair.connect()
    assert read_all(sock) == b"all that there is"
    reset(sock)
    pair.client.wait_conn(mark, dir="outbound", reason="reset_after_end")
    wait_until("the service knows", lambda: ends)
    assert ends == ["reset"]


def test_a_reset_in_the_middle_is_a_fault(keep, authority):
    def half(sock):
        sock.sendall(sock.recv(1) + b"half an answ")
        reset(sock)

    pair = keep(Pair(authority, handler=half))
    mark = pair.server.mark()
    with pair.connect() as sock:
        sock.sendall(b"?")
        assert how_it_ends(sock) == "reset"
    pair.server.wait_conn(mark, dir="inbound", reason="local_reset")
