# SPDX-License-Identifier: Apache-2.0
"""Which application protocol is agreed on with peers that bring their own TLS: gRPC's C core, Go, curl, nginx, openssl."""
import contextlib
import os
import socket
import ssl
import subprocess
from concurrent import futures

import pytest

from foreign import attempt, server_context, tls
from mesh import API, WEB, Agent, Service, connect, exchange, free_port, how_it_ends, is_turned_away
from pair import client_config, server_config
from test_foreign import Program, needs, nginx

NAME = "api.demo.example"
SERVER = "127.0.0.1:0"


@pytest.fixture(scope="module")
def web(authority):
    return authority.issue("web", WEB, "--dns", "web.demo.example")


@pytest.fixture(scope="module")
def api(authority):
    return authority.issue("api", API, "--dns", NAME)


def serve(keep, authority, address, api, alpn=None, **port):
    config = server_config(authority, address, certificate=api)
    config["inbound_ports"][0] |= {**port, **({"alpn": alpn} if alpn else {})}
    return keep(Agent("payments", config))


def call(keep, authority, address, alpn=None):
    """A sidecar whose service calls `address`, and offers it `alpn`."""
    config = client_config(authority, address)
    if alpn:
        config["destinations"][0]["alpn"] = alpn
    return keep(Agent("shop", config))


@pytest.mark.parametrize("offered, selected", [
    (["h2"], "h2"),
    (["http/1.1"], "http/1.1"),
    (["http/1.1", "h2"], "h2"),
    (["tabard/1", "h2"], "tabard/1"),
    (["h2", "tabard/1"], "tabard/1"),
    (["x", "h2"], "h2"),
    ([], None),
])
@pytest.mark.parametrize("mode", ["MTLS", "PERMISSIVE"])
def test_a_port_selects_the_first_of_its_own_protocols_that_is_offered(keep, authority, service, web, api, mode, offered, selected):
    server = serve(keep, authority, service.address, api, ["h2", "http/1.1"], mode=mode)
    with tls(server.address(SERVER), authority, web, alpn=offered) as sock:
        assert sock.selected_alpn_protocol() == selected
        assert exchange(sock, b"hello") == b"hello"


def test_a_client_that_offers_none_of_a_port_s_protocols_is_told_so(keep, authority, service, web, api):
    server = serve(keep, authority, service.address, api, ["h2"])
    for offered in (["http/1.1"], ["h2c", "h"]):
        mark = server.mark()
        said = str(attempt(server.address(SERVER), authority, web, alpn=offered))
        assert "no application protocol" in said.lower().replace("_", " ")  # as older OpenSSL has it, or newer
        assert server.wait_conn(mark, dir="inbound")["reason"] == "alpn_refused"


def test_another_list_is_in_force_for_the_next_handshake(keep, authority, service, web, api):
    server = serve(keep, authority, service.address, api, ["h2"])
    server.config["inbound_ports"][0]["alpn"] = ["http/1.1"]
    server.apply()
    with tls(server.address(SERVER), authority, web, alpn=["h2", "http/1.1"]) as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("offer, seen", [(None, ["tabard/1", "http/1.1"]), (["h2"], ["h2"]), (["h2", "tabard/1"], ["h2", "tabard/1"])])
def test_a_destination_says_what_is_offered(keep, authority, api, offer, seen):
    def answer(sock):
        context = server_context(authority, api)
        context.set_alpn_protocols(seen[-1:])
        secure = context.wrap_socket(sock, server_side=True)
        secure.sendall((secure.selected_alpn_protocol() or "none").encode() + secure.recv(10))
        secure.unwrap()

    service = keep(Service(answer))
    client = call(keep, authority, service.address, offer)
    with connect(client.address(SERVER)) as sock:
        sock.sendall(b"!")
        assert sock.recv(100) == seen[-1].encode() + b"!"
    # What stands first in the list is offered, too.
    seen[:] = seen[:1]
    with connect(client.address(SERVER)) as sock:
        sock.sendall(b"!")
        assert sock.recv(100) == seen[0].encode() + b"!"


# gRPC.

def grpc_server(credentials=None):
    grpc = pytest.importorskip("grpc", reason="Python's grpcio is not installed")

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, _: b"pong:" + request)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_secure_port(SERVER, credentials) if credentials else server.add_insecure_port(SERVER)
    server.start()
    return server, ("127.0.0.1", port)


def ping(address, credentials=None, seconds=10):
    """The answer of a gRPC call, or its status code."""
    import grpc
    target = "%s:%d" % address
    options = (("grpc.ssl_target_name_override", NAME), ("grpc.enable_retries", 0))
    channel = grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
    with channel:
        try:
            return channel.unary_unary("/x.Y/Z")(b"ping", timeout=seconds)
        except grpc.RpcError as error:
            return error.code().name


def channel_credentials(authority, certificate):
    import grpc
    return grpc.ssl_channel_credentials(authority.roots.read_bytes(), certificate.key.read_bytes(), certificate.chain.read_bytes())


@pytest.fixture
def grpc_service():
    server, address = grpc_server()
    yield address
    server.stop(None)


def test_a_grpc_client_without_a_sidecar_is_served_where_the_port_says_h2(keep, authority, grpc_service, web, api):
    server = serve(keep, authority, grpc_service, api, ["h2"])
    assert ping(server.address(SERVER), channel_credentials(authority, web)) == b"pong:ping"
    # Without the list nothing is selected, which the client does not take.
    del server.config["inbound_ports"][0]["alpn"]
    server.apply()
    assert ping(server.address(SERVER), channel_credentials(authority, web), seconds=3) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@pytest.fixture
def foreign_grpc_service(authority, api):
    grpc = pytest.importorskip("grpc", reason="Python's grpcio is not installed")
    server, address = grpc_server(grpc.ssl_server_credentials(
        [(api.key.read_bytes(), api.chain.read_bytes())], authority.roots.read_bytes(), True))
    yield address
    server.stop(None)


def test_a_grpc_server_without_a_sidecar_is_called_where_the_destination_says_h2(keep, authority, foreign_grpc_service):
    for alpn in (["h2"], ["tabard/1", "h2"]):
        client = call(keep, authority, foreign_grpc_service, alpn)
        assert ping(client.address(SERVER)) == b"pong:ping"


def test_a_grpc_server_that_refuses_the_offer_is_told_as_that(keep, authority, foreign_grpc_service):
    client = call(keep, authority, foreign_grpc_service)
    mark = client.mark()
    assert ping(client.address(SERVER), seconds=5) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert client.wait_conn(mark, dir="outbound")["reason"] == "alpn_refused"


# Go, curl, nginx, openssl.

GO = """package main

import (
    "crypto/tls"
    "crypto/x509"
    "fmt"
    "io"
    "net"
    "os"
)

// serve CHAIN KEY ROOTS PROTOCOL...: an echo server; prints its port.
// call ADDRESS CHAIN KEY ROOTS PROTOCOL...: sends "hello", prints the protocol and what came back.
func main() {
    arguments := os.Args[2:]
    address := "127.0.0.1:0"
    if os.Args[1] == "call" {
        address, arguments = arguments[0], arguments[1:]
    }
    certificate, err := tls.LoadX509KeyPair(arguments[0], arguments[1])
    check(err)
    roots, err := os.ReadFile(arguments[2])
    check(err)
    pool := x509.NewCertPool()
    pool.AppendCertsFromPEM(roots)
    config := &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: pool, ClientCAs: pool,
        ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: arguments[3:], ServerName: "api.demo.example"}
    if os.Args[1] == "call" {
        conn, err := tls.Dial("tcp", address, config)
        check(err)
        conn.Write([]byte("hello"))
        answer := make([]byte, 5)
        _, err = io.ReadFull(conn, answer)
        check(err)
        fmt.Println(conn.ConnectionState().NegotiatedProtocol, string(answer))
        return
    }
    listener, err := tls.Listen("tcp", address, config)
    check(err)
    fmt.Println(listener.Addr().(*net.TCPAddr).Port)
    for {
        conn, err := listener.Accept()
        check(err)
        go func() {
            io.Copy(conn, conn)
            conn.Close()
        }()
    }
}

func check(err error) {
    if err != nil {
        fmt.Println(err)
        os.Exit(1)
    }
}
"""


@pytest.fixture(scope="module")
def go_peer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(GO)
    subprocess.run(["go", "build", "-o", folder / "peer", folder / "main.go"], check=True, timeout=120)
    return folder / "peer"


def files(authority, certificate):
    return [certificate.chain, certificate.key, authority.roots]


@contextlib.contextmanager
def go_server(peer, authority, certificate, *protocols):
    process = subprocess.Popen([peer, "serve", *files(authority, certificate), *protocols], stdout=subprocess.PIPE, text=True)
    try:
        yield "127.0.0.1", int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@needs("go")
def test_a_go_client_that_wants_h2_is_served_where_the_port_says_so(keep, authority, service, go_peer, web, api):
    def dial(server):
        return subprocess.run([go_peer, "call", "%s:%d" % server.address(SERVER), *files(authority, web), "h2"],
                              capture_output=True, text=True, timeout=20).stdout.strip()

    server = serve(keep, authority, service.address, api, ["h2", "http/1.1"])
    assert dial(server) == "h2 hello"


@needs("go")
@pytest.mark.parametrize("protocols, alpn, answered", [
    (["grpc-exp"], None, False),
    (["grpc-exp"], ["h2"], False),
    (["grpc-exp"], ["h2", "grpc-exp"], True),
    (["h2"], None, True),  # Go selects nothing then, for the sake of http/1.1
    (["h2"], ["h2"], True),
    (["h2", "http/1.1"], None, True),
    ([], None, True),
    ([], ["h2"], True),
])
def test_a_go_server_is_called_by_a_protocol_that_it_knows(keep, authority, go_peer, api, protocols, alpn, answered):
    with go_server(go_peer, authority, api, *protocols) as address:
        client = call(keep, authority, address, alpn)
        if answered:
            with connect(client.address(SERVER)) as sock:
                assert exchange(sock, b"hello") == b"hello"
            return
        mark = client.mark()
        assert is_turned_away(client.address(SERVER))
        ended = client.wait_conn(mark, dir="outbound")
        assert ended["reason"] == "alpn_refused", ended


@needs("curl")
def test_curl_speaks_http_2_where_the_port_says_so(keep, authority, grpc_service, web, api):
    server = serve(keep, authority, grpc_service, api, ["h2", "http/1.1"])
    host, port = server.address(SERVER)
    done = subprocess.run(["curl", "-sS", "--http2", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
                           "--cacert", authority.roots, "--cert", web.chain, "--key", web.key, "--resolve", f"{NAME}:{port}:{host}",
                           f"https://{NAME}:{port}/x"], capture_output=True, text=True, timeout=20)
    assert done.stdout == "2 200", done.stderr


@needs("nginx")
@needs("curl")
def test_nginx_is_called_with_http_2_where_the_destination_says_so(keep, authority, tmp_path, api):
    port = free_port()
    keep(nginx(tmp_path, port, f"""listen 127.0.0.1:{port} ssl http2; return 200 "$server_protocol";
        ssl_protocols TLSv1.3; ssl_certificate {api.chain}; ssl_certificate_key {api.key};
        ssl_client_certificate {authority.roots}; ssl_verify_client on;"""))
    for alpn, more, spoken in ((["h2"], ["--http2-prior-knowledge"], "HTTP/2.0"), (None, [], "HTTP/1.1")):
        client = call(keep, authority, ("127.0.0.1", port), alpn)
        done = subprocess.run(["curl", "-sS", "--max-time", "10", *more, "http://%s:%d/" % client.address(SERVER)],
                              capture_output=True, text=True, timeout=20)
        assert done.stdout == spoken, done.stderr


@needs("openssl")
def test_openssl_s_server_that_knows_none_of_the_offer_is_told_as_that(keep, authority, api):
    port = free_port()
    keep(Program(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", api.chain, "-key", api.key, "-CAfile",
                  authority.roots, "-Verify", "2", "-alpn", "h2,grpc-exp", "-quiet"], port))
    client = call(keep, authority, ("127.0.0.1", port))
    mark = client.mark()
    assert is_turned_away(client.address(SERVER))
    assert client.wait_conn(mark, dir="outbound")["reason"] == "alpn_refused"


def test_a_server_that_selects_nothing_and_hangs_up_is_told_as_that_only_before_its_first_byte(keep, authority, api):
    def ending(first, is_clean):
        def answer(sock):
            secure = server_context(authority, api).wrap_socket(sock, server_side=True)
            secure.sendall(secure.recv(1) and first)
            if is_clean:
                secure.unwrap()
            else:
                os.close(secure.detach())  # a FIN without close_notify
        return answer

    for first, is_clean, reason, is_told in ((b"", False, "alpn_refused", True), (b"half", False, "truncated", False),
                                             (b"", True, "finished", True), (b"all", True, "finished", False)):
        service = keep(Service(ending(first, is_clean)))
        client = call(keep, authority, service.address)
        mark = client.mark()
        with connect(client.address(SERVER)) as sock:
            sock.sendall(b"!")
            assert how_it_ends(sock) == ("clean" if is_clean else "reset")
        ended = client.wait_conn(mark, dir="outbound")
        assert ended["reason"] == reason
        assert ("see the destination's alpn" in ended.get("detail", "")) == is_told


def test_a_server_that_hangs_up_after_its_caller_has_refused_no_protocol(keep, authority, api):
    def answer(sock):
        secure = server_context(authority, api).wrap_socket(sock, server_side=True)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while secure.recv(100):
                pass
        os.close(secure.detach())

    service = keep(Service(answer))
    client = call(keep, authority, service.address)
    mark = client.mark()
    with connect(client.address(SERVER)) as sock:
        sock.sendall(b"!")
        sock.shutdown(socket.SHUT_WR)
        assert how_it_ends(sock) == "reset"
    assert client.wait_conn(mark, dir="outbound")["reason"] == "truncated"
