# SPDX-License-Identifier: Apache-2.0
"""net/grpc against python3-grpcio (grpc-core), in both roles, over a Unix socket and under mutual TLS."""
import struct
import threading
import time
from concurrent import futures

import pytest

from conftest import run_our_client
from echo_cases import CAP, ask, fill

grpc = pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")

OPTIONS = [("grpc.max_receive_message_length", CAP), ("grpc.max_send_message_length", -1)]


def same(data):
    return data


class Echo(grpc.GenericRpcHandler):
    """The service of grpc_echo.h, on grpc-core."""

    def service(self, details):
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, same, same),
            "Status": grpc.unary_unary_rpc_method_handler(self.status, same, same),
            "Numbers": grpc.unary_stream_rpc_method_handler(self.numbers, same, same),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, same, same),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect, same, same),
            "Hold": grpc.unary_unary_rpc_method_handler(self.hold, same, same),
        }
        package, _, name = details.method.rpartition("/")
        return kinds.get(name) if package == "/echo.Echo" else None

    def unary(self, request, context):
        return request

    def status(self, request, context):
        code = next(code for code in grpc.StatusCode if code.value[0] == request[0])
        context.send_initial_metadata([("x-unknown", "is fine")])
        context.set_trailing_metadata([("x-unknown-bin", b"\0\1\2\xff\xfe")])
        context.abort(code, request[1:].decode())

    def numbers(self, request, context):
        num, length = struct.unpack("!II", request)
        for index in range(num):
            yield fill(length, index)

    def chat(self, requests, context):
        yield from requests

    def collect(self, requests, context):
        return struct.pack("!Q", sum(map(len, requests)))

    def hold(self, request, context):
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(30)
        return request


@pytest.fixture
def python_server(transport, folder, certificates):
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Echo()], options=OPTIONS)
    if transport == "unix":
        address = f"unix:{folder}/s"
        server.add_insecure_port(address)
    else:
        pair = (certificates.key.read_bytes(), certificates.chain.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], certificates.roots.read_bytes(), True)
        address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    server.start()
    yield address
    server.stop(None)


def test_our_client_and_a_python_server_agree_on_every_case(peer, python_server, transport, certificates):
    run_our_client(peer, python_server, certificates.files() if transport == "tls" else [])


@pytest.fixture
def channel(served, transport, certificates):
    if transport == "unix":
        made = grpc.insecure_channel(served.address, options=OPTIONS)
    else:
        credentials = grpc.ssl_channel_credentials(certificates.roots.read_bytes(), certificates.key.read_bytes(),
                                                   certificates.chain.read_bytes())
        made = grpc.secure_channel(served.address.replace("127.0.0.1", "localhost"), credentials, options=OPTIONS)
    yield made
    made.close()


LENGTHS = [0, 1, 4, 5, 16379, 16384, 16385, 65530, 65536, 1 << 20, CAP - 1, CAP]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_python_client_gets_its_message_back(channel, length):
    message = fill(length, 3)
    assert channel.unary_unary("/echo.Echo/Unary")(message, timeout=20) == message


def test_a_message_over_the_cap_is_refused_by_its_limits_name(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/echo.Echo/Unary")(bytes(CAP + 1), timeout=20)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "message_bytes_max" in caught.value.details()
    assert channel.unary_unary("/echo.Echo/Unary")(b"and on", timeout=20) == b"and on"


@pytest.mark.parametrize("num, length", [(0, 1), (1, 0), (1000, 0), (3000, 100), (20, 700000)])
def test_a_python_client_reads_a_stream(channel, num, length):
    got = list(channel.unary_stream("/echo.Echo/Numbers")(ask(num, length), timeout=60))
    assert len(got) == num
    assert all(message == fill(length, index) for index, message in enumerate(got))


def test_a_python_client_that_reads_slowly_stops_the_server(channel):
    """The server can't have sent 200 MB ahead: it holds back at its limit, and the stream goes on when read."""
    stream = channel.unary_stream("/echo.Echo/Numbers")(ask(2000, 100000), timeout=60)
    first = [next(stream) for _ in range(20)]
    assert [message[:50] for message in first] == [fill(50, index) for index in range(20)]
    stream.cancel()
    assert channel.unary_unary("/echo.Echo/Unary")(b"and on", timeout=20) == b"and on"


@pytest.mark.parametrize("num, length", [(0, 0), (500, 10), (30, 200000)])
def test_a_python_client_chats_and_collects(channel, num, length):
    messages = [fill(length, index) for index in range(num)]
    assert list(channel.stream_stream("/echo.Echo/Chat")(iter(messages), timeout=60)) == messages
    assert channel.stream_unary("/echo.Echo/Collect")(iter(messages), timeout=60) == struct.pack("!Q", num * length)


def test_statuses_and_words_reach_a_python_client_whatever_its_metadata(channel):
    words = "50% of \u00e4\u20ac\n, no"
    metadata = [("x-unknown", "is fine"), ("x-unknown-bin", b"\0\1\2\xff\xfe")]
    for code in grpc.StatusCode:
        if code == grpc.StatusCode.OK:
            continue
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/echo.Echo/Status")(bytes([code.value[0]]) + words.encode(), timeout=20, metadata=metadata)
        assert (caught.value.code(), caught.value.details()) == (code, words)


def test_an_unknown_method_is_unimplemented(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/echo.Echo/Nothing")(b"x", timeout=20)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "no such method")


def test_a_python_clients_deadline_and_cancel_end_its_calls(channel):
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/echo.Echo/Hold")(b"x", timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - start < 10
    call = channel.unary_unary("/echo.Echo/Hold").future(b"x", timeout=20)
    call.cancel()
    assert call.cancelled()


def test_a_hundred_calls_at_a_time_share_one_connection(channel):
    echo = channel.unary_unary("/echo.Echo/Unary")
    calls = [echo.future(fill(3000, index), timeout=30) for index in range(300)]
    assert [call.result() for call in calls] == [fill(3000, index) for index in range(300)]


def test_a_server_that_shuts_down_lets_a_call_finish(channel, served):
    """GOAWAY: the chat that is open goes on and ends well; close() in the fixture sees that the server ends."""
    sent = threading.Event()

    def messages():
        yield b"one"
        sent.wait(10)
        yield b"two"

    chat = channel.stream_stream("/echo.Echo/Chat")(messages(), timeout=20)
    assert next(chat) == b"one"
    served.tell()
    sent.set()
    assert list(chat) == [b"two"]
