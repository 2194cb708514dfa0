# SPDX-License-Identifier: Apache-2.0
"""The application's probes that the agent makes in the kubelet's place: real servers of Python, nginx, Go and gRPC."""
import contextlib
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent import futures

import pytest

from mesh import WEB, Agent, free_port, run, wait_until
from pair import bundles, identity

GO_SERVER = """package main

import (
	"fmt"
	"net"
	"net/http"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.UserAgent()) })
	http.Handle("/moved", http.RedirectHandler("/healthz", http.StatusMovedPermanently))
	http.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 503) })
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	http.Serve(listener, nil)
}
"""

NGINX = """daemon off; error_log stderr; pid {folder}/pid; events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{plain}; location / {{ return 200 ok; }} location /tls {{ return 302 https://127.0.0.1:{tls}/; }} }}
  server {{ listen 127.0.0.1:{tls} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {folder}/cert.pem;
            ssl_certificate_key {folder}/key.pem; location / {{ return 204; }} }}
}}
"""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        path, _, query = self.path.partition("?")
        status = int(path.strip("/").split("/")[0] or 200)
        self.send_response(status)
        if query:
            self.send_header("Location", query)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def python_server():
    with contextlib.ExitStack() as stack:
        def start(context=None):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.requests = []
            if context:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server, server.server_address[1]
        yield start


@pytest.fixture
def tls_files(tmp_path):
    """A certificate of nobody whom the agent knows, for another name, and expired long ago."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other.example",
        "-days", "1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    return tmp_path


@pytest.fixture
def agent(authority, keep):
    """agent(PROBES) starts one with these probes; its page(NAME) is a probe's status and text."""
    def start(**probes):
        made = Agent("web", {"identity": identity(authority.issue("web", WEB)), "trust_bundles": bundles(authority)}, start=False)
        rows = [{"page": f"/app-health/web/{name}", **probe} for name, probe in probes.items()]
        (made.folder / "probes.yaml").write_text(json.dumps({"probes": rows}))
        made.arguments += ["--probes", str(made.folder / "probes.yaml")]
        made.page = lambda name: made.http("health", f"/app-health/web/{name}")
        keep(made).start()
        return made
    return start


def test_an_http_probe_is_good_below_400_and_says_what_came(agent, python_server):
    _, port = python_server()
    statuses = (200, 204, 399, 400, 404, 500, 503)
    web = agent(**{f"s{status}": {"http": {"port": port, "path": f"/{status}"}} for status in statuses})
    got = {status: web.page(f"s{status}") for status in statuses}
    assert got == {status: (200 if status < 400 else 503, f"/{status} answered with status {status}\n") for status in statuses}
    assert web.http("health", "/app-health/web/none")[0] == 404
    assert (web.metric("tabard_application_probes_total", result="good"), web.metric("tabard_application_probes_total", result="bad")) == (3, 4)


def test_an_http_probe_sends_what_the_kubelet_sends(agent, python_server):
    server, port = python_server()
    headers = [{"name": "Host", "value": "shop.example"}, {"name": "X-Probe", "value": "yes, twice"}, {"name": "accept", "value": "text/html"}]
    web = agent(plain={"http": {"port": port, "path": "/200/a b?full=1#part"}}, own={"http": {"port": port, "path": "/200", "headers": headers}})
    assert web.page("plain")[0] == web.page("own")[0] == 200
    (path, plain), (_, own) = server.requests
    assert path == "/200/a%20b?full=1"
    assert plain == {"Host": f"127.0.0.1:{port}", "User-Agent": "kube-probe/tabard", "Accept": "*/*", "Connection": "close"}
    assert own == {"Host": "shop.example", "User-Agent": "kube-probe/tabard", "Accept": "text/html", "X-Probe": "yes, twice", "Connection": "close"}


def test_redirections_are_followed_at_the_same_address_and_good_if_they_lead_elsewhere(agent, python_server):
    _, port = python_server()
    probe = {name: {"http": {"port": port, "path": path}} for name, path in {
        "here": "/302?/200", "whole": f"/307?http://127.0.0.1:{port}/500", "elsewhere": "/301?http://shop.example/500",
        "no-url": "/302?http:/x", "without": "/302"}.items()}
    web = agent(**probe)
    assert web.page("here") == (200, "/200 answered with status 200\n")
    assert web.page("whole") == (503, "/500 answered with status 500\n")
    assert web.page("elsewhere") == (200, "status 301 leads elsewhere, to http://shop.example/500\n")
    assert web.page("without") == (200, "/302 answered with status 302\n")
    assert web.page("no-url")[0] == 503 and "is no URL" in web.page("no-url")[1]


def test_a_redirection_without_end_ends(agent, python_server):
    server, port = python_server()
    web = agent(loop={"http": {"port": port, "path": "/"}})
    server.RequestHandlerClass = type("Loop", (Handler,), {"do_GET": lambda self: (
        self.server.requests.append(1), self.send_response(302), self.send_header("Location", "/again"), self.end_headers())})
    assert web.page("loop") == (503, "more than 10 redirections\n")
    assert len(server.requests) == 11


def test_https_is_asked_without_a_look_at_the_certificate_by_tls_1_2_too(agent, python_server, tls_files):
    ports = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls_files / "cert.pem", tls_files / "key.pem")
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        ports.append(python_server(context)[1])
    _, plain = python_server()
    web = agent(old={"http": {"port": ports[0], "path": "/200", "https": True}}, new={"http": {"port": ports[1], "path": "/200", "https": True}},
                wrong={"http": {"port": plain, "path": "/200", "https": True}})
    assert (web.page("old"), web.page("new")) == ((200, "/200 answered with status 200\n"),) * 2
    status, why = web.page("wrong")
    assert status == 503 and why.startswith("TLS handshake failed"), why


def test_nginx_and_a_redirection_from_http_to_https(agent, keep, tls_files):
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    plain, tls = free_port(), free_port()
    (tls_files / "conf").write_text(NGINX.format(folder=tls_files, plain=plain, tls=tls))
    with contextlib.ExitStack() as stack:
        nginx = subprocess.Popen(["nginx", "-c", str(tls_files / "conf"), "-p", str(tls_files)], stderr=subprocess.DEVNULL)
        stack.callback(nginx.wait)
        stack.callback(nginx.terminate)
        web = agent(plain={"http": {"port": plain, "path": "/"}}, tls={"http": {"port": tls, "path": "/", "https": True}},
                    moved={"http": {"port": plain, "path": "/tls"}}, tcp={"tcp": {"port": plain}})
        wait_until("nginx serves", lambda: web.page("tcp")[0] == 200)
        assert [web.page(name)[1] for name in ("plain", "tls", "moved")] == [
            "/ answered with status 200\n", "/ answered with status 204\n", "/ answered with status 204\n"]


def test_a_server_of_go(agent, tmp_path):
    go = shutil.which("go") or (shutil.which("/usr/local/go/bin/go"))
    if not go:
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text(GO_SERVER)
    run(go, "build", "-o", tmp_path / "server", tmp_path / "main.go")
    server = subprocess.Popen([tmp_path / "server"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        web = agent(good={"http": {"port": port, "path": "/healthz"}}, moved={"http": {"port": port, "path": "/moved"}},
                    down={"http": {"port": port, "path": "/down"}})
        assert (web.page("good"), web.page("moved")) == ((200, "/healthz answered with status 200\n"),) * 2
        assert web.page("down") == (503, "/down answered with status 503\n")
    finally:
        server.kill()
        server.wait()


def test_a_tcp_probe_connects_and_says_why_it_could_not(agent):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        web = agent(tcp={"tcp": {"port": port}})
        assert web.page("tcp") == (200, "connected\n")
    mark = web.mark()
    assert web.page("tcp") == (503, "connection refused\n")
    assert web.page("tcp") == (503, "connection refused\n")
    assert [line["why"] for line in web.lines(mark, msg="probe failed")] == ["connection refused"]
    with socket.create_server(("127.0.0.1", port)):
        assert web.page("tcp")[0] == 200
    web.wait_line(mark, msg="probe is good again", page="/app-health/web/tcp")


def test_a_grpc_probe_asks_for_the_service_s_health(agent):
    grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed")
    answers = {b"": b"\x08\x01", b"\x0a\x04shop": b"\x08\x02", b"\x0a\x03odd": b"\x08\x63", b"\x0a\x03bad": b"\xff"}

    class Health(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method == "/grpc.health.v1.Health/Check":
                return grpc.unary_unary_rpc_method_handler(lambda request, context: answers.get(request) or context.abort(
                    grpc.StatusCode.NOT_FOUND, "unknown service"))

    def start(*handlers):
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return server, port

    server, port = start(Health())
    other, bare = start()
    try:
        probe = lambda service, port=port: {"grpc": {"port": port, **({"service": service} if service else {})}}  # noqa: E731
        web = agent(all=probe(""), shop=probe("shop"), odd=probe("odd"), bad=probe("bad"), none=probe("none"), bare=probe("", bare))
        assert web.page("all") == (200, "the service says SERVING\n")
        assert web.page("shop") == (503, "the service says NOT_SERVING\n")
        assert web.page("odd") == (503, "the service says something unknown\n")
        assert web.page("bad") == (503, "the answer is no HealthCheckResponse\n")
        assert web.page("none") == (503, "NOT_FOUND: unknown service\n")
        assert web.page("bare")[0] == 503 and web.page("bare")[1].startswith("UNIMPLEMENTED: "), web.page("bare")
    finally:
        server.stop(0)
        other.stop(0)
    status, why = web.page("all")
    assert status == 503 and "connection refused" in why, why


HOSTILE = {
    "no HTTP": (b"220 smtp ready\r\n", 'the answer is no HTTP/1 (it begins with "220 smtp ready")'),
    "HTTP/2 in the clear": (b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\n", "the answer is no HTTP/1"),
    "an end before the head's": (b"HTTP/1.1 200 OK\r\nA: b\r\n", "the peer closed the connection"),
    "a head without end": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10000, "the answer's head is longer than 16384 bytes"),
    "a location that would be a second request": (b"HTTP/1.1 302 Found\r\nLocation: /a\rGET /x\r\n\r\n", "the peer closed the connection"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_an_application_answers_is_an_answer(agent, case):
    said, why = HOSTILE[case]
    heard = []

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as sock:
                    heard.append(sock.recv(4096))
                    sock.sendall(said if len(heard) == 1 else b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        web = agent(app={"http": {"port": listener.getsockname()[1], "path": "/"}})
        status, text = web.page("app")
        listener.shutdown(socket.SHUT_RDWR)
    assert status == 503 and text.startswith(why), text
    assert all(request.count(b"\r\n\r\n") == 1 and request.startswith(b"GET /") and b"\nGET" not in request for request in heard), heard


def test_an_application_that_hangs_is_bad_after_the_probe_s_own_timeout_and_holds_up_nothing(agent):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        web = agent(slow={"timeout_seconds": 2, "http": {"port": listener.getsockname()[1], "path": "/"}})
        began = time.monotonic()
        with futures.ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(web.page, "slow") for _ in range(8)]
            assert web.http("health", "/healthz/ready")[0] == 200 and time.monotonic() - began < 1.5
            assert {answer.result() for answer in answers} == {(503, "no whole answer in 2 s\n")}
        assert 1.9 < time.monotonic() - began < 6
        listener.setblocking(False)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):  # eight kubelets, one question
            listener.accept()


def test_one_kubelet_may_make_all_probes_at_once_and_the_sidecar_s_own_too(agent):
    """More than a source has connections else, each of which waits for its answer."""
    names = [f"p{number}" for number in range(20)]
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        web = agent(**{name: {"timeout_seconds": 2, "http": {"port": listener.getsockname()[1], "path": "/"}} for name in names})
        with futures.ThreadPoolExecutor(len(names)) as pool:
            answers = [pool.submit(web.page, name) for name in names]
            assert web.http("health", "/healthz/ready")[0] == 200
            assert {answer.result() for answer in answers} == {(503, "no whole answer in 2 s\n")}


def test_a_wrong_file_of_probes_ends_the_start_with_its_place(authority, keep):
    web = keep(Agent("web", {"identity": identity(authority.issue("web", WEB)), "trust_bundles": bundles(authority)}, start=False))
    (web.folder / "probes.yaml").write_text("probes:\n  - page: /app-health/web/livez\n    tcp: {port: 0}\n")
    web.arguments += ["--probes", "probes.yaml"]
    web.start(wait=False)
    line = web.wait_line(msg="start failed")
    assert line["error"].startswith("--probes: probes.yaml:3:") and "probes[0].tcp.port" in line["error"], line
    assert web.process.wait(timeout=10) == 1
