# SPDX-License-Identifier: Apache-2.0
"""Other people's TLS at the far end, in both roles: openssl, curl, nginx, Python."""
import contextlib
import shutil
import socket
import ssl
import subprocess

import pytest

from foreign import attempt, server_context
from mesh import API, WEB, Agent, Service, connect, exchange, free_port, is_turned_away, wait_until
from pair import client_config, server_config, serving

NAME = "api.demo.example"


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def accepts(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True


def hello_over_http(sock):
    request = b""
    while b"\r\n\r\n" not in request:
        part = sock.recv(4096)
        if not part:
            return
        request += part
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")


class Program:
    """A foreign server, running while the test does."""

    def __init__(self, command, port):
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        try:
            wait_until(f"{command[0]} listens", lambda: accepts(port) or self.process.poll() is not None)
            assert self.process.poll() is None, self.process.stdout.read()
        except BaseException:
            self.close()
            raise

    def close(self):
        self.process.kill()
        self.process.communicate()


def nginx(folder, port, server):
    """Runs nginx with one http server block, everything it writes below `folder`."""
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
{temporary}
access_log off;
server {{ {server} }}
}}
""")
    return Program(["nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log", "-p", folder], port)


@pytest.fixture(scope="module")
def server(authority):
    with serving(authority, handler=hello_over_http, certificate=authority.issue("api", API, "--dns", NAME)) as agent:
        yield agent


@pytest.fixture(scope="module")
def web(authority):
    return authority.issue("web", WEB, "--dns", "web.demo.example")


def s_client(address, authority, certificate):
    identity = ["-cert", certificate.chain, "-key", certificate.key] if certificate else []
    return subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % address, "-CAfile", authority.roots, "-verify_return_error",
                           "-quiet", *identity], input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, timeout=20)


@needs("openssl")
def test_openssl_with_a_good_certificate_gets_in(server, authority, web):
    assert s_client(server.address("127.0.0.1:0"), authority, web).stdout.endswith(b"hello\n")


@needs("openssl")
def test_openssl_without_or_with_another_domain_s_certificate_is_refused(server, authority, other_authority):
    for certificate, reason in ((None, "no_certificate"),
                                (other_authority.issue("web", "spiffe://other.example/web"), "unknown_trust_domain")):
        mark = server.mark()
        assert b"hello" not in s_client(server.address("127.0.0.1:0"), authority, certificate).stdout
        server.wait_conn(mark, dir="inbound", reason=reason)


@needs("openssl")
def test_openssl_may_update_its_keys_in_the_middle(keep, authority, service, web):
    server = keep(Agent("payments", server_config(authority, service.address)))
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", "%s:%d" % server.address("127.0.0.1:0"), "-CAfile", authority.roots, "-cert", web.chain,
         "-key", web.key, "-brief"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def line_with(text):
        while (line := process.stdout.readline()) and text not in line:
            pass
        return line

    try:
        # "K" alone on a line makes s_client send a KeyUpdate and ask for one.
        for text in (b"before\n", b"K\n", b"after\n", b"K\n", b"again\n"):
            process.stdin.write(text)
            process.stdin.flush()
            if text != b"K\n":
                assert line_with(text.strip())
            else:
                assert line_with(b"KEYUPDATE")
    finally:
        process.kill()
        process.communicate()


@needs("curl")
def test_curl_verifies_the_dns_name_and_gets_in(server, authority, web):
    port = server.address("127.0.0.1:0")[1]
    done = subprocess.run(["curl", "-sS", "--max-time", "10", "--cacert", authority.roots, "--cert", web.chain, "--key", web.key,
                           "--resolve", f"{NAME}:{port}:127.0.0.1", f"https://{NAME}:{port}/"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr


@needs("nginx")
def test_nginx_as_a_client_gets_in(keep, server, authority, web, tmp_path):
    port = free_port()
    keep(nginx(tmp_path, port, f"""
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass https://127.0.0.1:{server.address("127.0.0.1:0")[1]};
            proxy_ssl_certificate {web.chain}; proxy_ssl_certificate_key {web.key};
            proxy_ssl_trusted_certificate {authority.roots}; proxy_ssl_verify on; proxy_ssl_name {NAME};
            proxy_ssl_protocols TLSv1.3;
        }}"""))
    with connect(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while part := sock.recv(4096):
            answer += part
    assert answer.endswith(b"hello\n"), answer


@needs("nginx")
def test_nginx_as_a_server_is_called_through_the_sidecar(keep, authority, tmp_path):
    api, port = authority.issue("api", API), free_port()
    keep(nginx(tmp_path, port, f"""
        listen 127.0.0.1:{port} ssl; ssl_certificate {api.chain}; ssl_certificate_key {api.key};
        ssl_protocols TLSv1.3; ssl_client_certificate {authority.roots}; ssl_verify_client on;
        location / {{ return 200 "verified $ssl_client_verify\\n"; }}"""))
    client = keep(Agent("shop", client_config(authority, ("127.0.0.1", port))))
    with connect(client.address("127.0.0.1:0")) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := sock.recv(4096):
            answer += part
    assert answer.endswith(b"verified SUCCESS\n"), answer


@needs("openssl")
def test_openssl_as_a_server_is_called_through_the_sidecar(keep, authority):
    api, port = authority.issue("api", API), free_port()
    keep(Program(["openssl", "s_server", "-accept", port, "-cert_chain", api.chain, "-cert", api.chain, "-key", api.key,
                  "-CAfile", authority.roots, "-Verify", "3", "-verify_return_error", "-tls1_3", "-rev"], port))
    client = keep(Agent("shop", client_config(authority, ("127.0.0.1", port))))
    with connect(client.address("127.0.0.1:0")) as sock:
        assert exchange(sock, b"olleh\n") == b"hello\n"


def test_python_as_a_server_is_called_through_the_sidecar(keep, authority):
    context = server_context(authority, authority.issue("api", API))

    def serve(sock):
        with context.wrap_socket(sock, server_side=True) as secure:
            subject = dict(pair for pair in secure.getpeercert()["subjectAltName"])
            assert secure.recv(5) == b"hello"
            secure.sendall(subject["URI"].encode())
            secure.unwrap()

    service = keep(Service(serve))
    client = keep(Agent("shop", client_config(authority, service.address)))
    with connect(client.address("127.0.0.1:0")) as sock:
        sock.sendall(b"hello")
        assert sock.recv(1000) == WEB.encode()


def test_a_foreign_server_that_ends_without_close_notify_resets_the_caller(keep, authority):
    context = server_context(authority, authority.issue("api", API))

    def serve(sock):
        secure = context.wrap_socket(sock, server_side=True)
        secure.sendall(b"half an answ" + secure.recv(1))
        secure.shutdown(socket.SHUT_WR)  # a bare FIN
        secure.recv(1)

    service = keep(Service(serve))
    client = keep(Agent("shop", client_config(authority, service.address)))
    mark = client.mark()
    with connect(client.address("127.0.0.1:0")) as sock:
        sock.sendall(b"!")
        with pytest.raises(ConnectionResetError):
            while sock.recv(100):
                pass
    client.wait_conn(mark, dir="outbound", reason="truncated")


def test_a_server_that_speaks_only_tls_1_2_is_refused(keep, authority):
    context = server_context(authority, authority.issue("api", API))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    service = keep(Service(lambda sock: context.wrap_socket(sock, server_side=True).recv(1)))
    client = keep(Agent("shop", client_config(authority, service.address)))
    mark = client.mark()
    assert is_turned_away(client.address("127.0.0.1:0"))
    assert client.wait_conn(mark, dir="outbound")["reason"] in ("tls_version", "peer_alert", "tls_error")


def test_a_server_that_asks_for_no_certificate_still_has_to_show_its_own(keep, authority):
    context = server_context(authority, authority.issue("api", API), verify=False)
    service = keep(Service(lambda sock: echo_once(context.wrap_socket(sock, server_side=True))))
    client = keep(Agent("shop", client_config(authority, service.address)))
    with connect(client.address("127.0.0.1:0")) as sock:
        assert exchange(sock, b"hello") == b"hello"
    assert attempt(service.address, authority) == b"hello"


def echo_once(sock):
    sock.sendall(sock.recv(100))
