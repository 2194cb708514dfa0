# SPDX-License-Identifier: Apache-2.0
"""Tabard's real programs as objects: a sidecar (agent and proxy), the service beside it, and what they log.

Nothing here sleeps for a fixed time: everything waits for a fact, up to a deadline, and says which fact was missing.
Programs stop when their object is closed; a failed test prints what they logged.
"""
import contextlib
import http.client
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "tabard-agent": ROOT / "bazel-bin/control/agent/tabard-agent",
    "tabard-proxy": ROOT / "bazel-bin/proxy/tabard-proxy",
    "tabard-ca": ROOT / "bazel-bin/certs/ca/tabard-ca",
    "tabardctl": ROOT / "bazel-bin/control/ctl/tabardctl",
    "tabard-policyd": ROOT / "bazel-bin/control/policyd/tabard-policyd",
}
DOMAIN = "demo.example"
WEB = f"spiffe://{DOMAIN}/ns/shop/sa/web"
API = f"spiffe://{DOMAIN}/ns/payments/sa/api"
STRANGER = f"spiffe://{DOMAIN}/ns/lobby/sa/stranger"

REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|invariant broken")
ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
FIELD = re.compile(r'([\w-]+)=("[^"]*"|\S*)')

PORTS_GIVEN = set()


class Missing(AssertionError):
    """A fact that did not come true in time."""


def wait_until(what, condition, seconds=10):
    """Returns the first true value of `condition`, or raises Missing."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Missing(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def free_port():
    """A TCP port on which nobody listens, on whatever address, and which no caller has. None comes twice.

    The kernel gives callers ports of one range (ip(7), ip_local_port_range). One of those, free a moment ago, may be somebody's
    when the test binds it, also as the closed end of a call from another loopback address: so it is one of the others.
    """
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    others = [port for port in range(16384, 65536) if not low <= port <= high and port not in PORTS_GIVEN]
    for port in random.sample(others, len(others)):
        try:
            with socket.socket() as sock:
                sock.bind(("0.0.0.0", port))
                PORTS_GIVEN.add(port)
                return port
        except OSError:
            continue
    raise AssertionError(f"no port from 16384 to 65535 is free outside of ip_local_port_range, {low} to {high}")


def fields(line):
    """A log line as a dict, quoted values as they were before they were quoted."""
    return {key: ESCAPE.sub(lambda match: chr(int(match[1], 16)), value.strip('"')) for key, value in FIELD.findall(line)}


def split_address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def join_address(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(program, *arguments, netns=None, check=True, **more):
    """Runs one of Tabard's programs, or any other, to its end."""
    command = [str(PROGRAMS.get(program, program)), *map(str, arguments)]
    if netns:
        command = netns.command(command)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{program} {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def linked_libraries(program):
    """What the loader finds for a program, as ldd(1) says it."""
    return subprocess.run(["ldd", PROGRAMS[program]], capture_output=True, text=True, check=True).stdout


def is_sanitized():
    """Whether the programs are built with a sanitizer, which takes instructions and memory of its own."""
    return any(name in linked_libraries("tabard-proxy") for name in ("libasan", "libubsan", "libtsan"))


class Logged:
    """What a program said: the lines of `log_path`, since a mark. Whoever is one has a `name` and a `process`."""

    def log(self, mark=0):
        with open(self.log_path, "rb") as file:
            file.seek(mark)
            return file.read().decode(errors="replace")

    def mark(self):
        return self.log_path.stat().st_size

    def lines(self, mark=0, **wanted):
        """The lines since `mark` whose fields are as wanted, as dicts. `while_` stands for the field `while`."""
        wanted = {key.rstrip("_"): str(value) for key, value in wanted.items()}
        all_lines = map(fields, self.log(mark).splitlines())
        return [line for line in all_lines if all(line.get(key) == value for key, value in wanted.items())]

    def wait_line(self, mark=0, seconds=10, **wanted):
        def look():
            found = self.lines(mark, **wanted)
            if not found and self.process and self.process.poll() is not None:
                found = self.lines(mark, **wanted)
                if not found:
                    raise Missing(f"{self.name} exited {self.process.returncode} without a line of {wanted}\n{self.log(mark)}")
            return found
        return wait_until(f"{self.name} logs a line of {wanted}; it logged:\n{self.log(mark)[-3000:]}", look, seconds)[-1]


class Agent(Logged):
    """One sidecar: tabard-agent with its mesh.yaml in a folder of its own."""

    programs = PROGRAMS
    alive = []  # every one that isn't closed, for whoever prints logs
    reports = []  # what sanitizers, or broken invariants, said in those that are

    def __init__(self, name, config, *, netns=None, workers=1, arguments=(), prefix=(), proxy_prefix=(), start=True):
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"tabard-{name}-"))
        os.chmod(self.folder, 0o755)
        self.config = config
        self.netns = netns
        self.arguments = ["--workers", str(workers), *arguments]
        self.prefix = list(prefix)
        self.proxy_prefix = list(proxy_prefix)  # the agent passes nothing of its own environment on
        self.log_path = self.folder / "log"
        self.log_path.touch()
        self.process = None
        self.write_config()
        Agent.alive.append(self)
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    def _proxy(self):
        """The proxy, or a script that begins with `proxy_prefix`."""
        if not self.proxy_prefix:
            return self.programs["tabard-proxy"]
        script = self.folder / "tabard-proxy.sh"
        script.write_text(f'#!/bin/sh\nexec {shlex.join([*self.proxy_prefix, str(self.programs["tabard-proxy"])])} "$@"\n')
        script.chmod(0o755)
        return script

    def become(self, uid, authority, capabilities=()):
        """Before its start: it runs as another user with these capabilities, whose are the files that it reads."""
        given = ",".join(f"+{capability}" for capability in capabilities) or "-all"
        self.prefix = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", f"--inh-caps={given}", f"--ambient-caps={given}",
                       *self.prefix]
        for folder in (self.folder, authority.folder):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid)
        # Where the build leaves its programs is no place for other users.
        self.programs = {name: shutil.copy(path, self.folder) for name, path in self.programs.items()}

    def start(self, wait=True):
        # In a namespace of its own the sidecar takes the ports that everybody expects there.
        where = [] if self.netns else ["--metrics", "127.0.0.1:0", "--health", "127.0.0.1:0"]
        # A test run that is killed takes its sidecars with it.
        command = ["setpriv", "--pdeathsig", "KILL", *self.prefix, str(self.programs["tabard-agent"]), "--config", str(self.folder / "mesh.yaml"),
                   "--proxy", str(self._proxy()), "--admin", str(self.folder / "admin.sock"),
                   *where, *self.arguments]
        if self.netns:
            command = self.netns.command(command)
        mark = self.mark()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                                            start_new_session=True)
        if wait:
            self.wait_in_force(mark)

    def write_config(self, text=None):
        """Replaces mesh.yaml in one step. JSON is YAML, and pretty-printed it has lines for errors to name."""
        new = self.folder / "mesh.yaml.new"
        new.write_text(text if text is not None else json.dumps(self.config, indent=2) + "\n")
        new.rename(self.folder / "mesh.yaml")

    def apply(self, text=None):
        """Writes the configuration and waits until it is in force. What changes nothing makes no new generation."""
        mark, path = self.mark(), self.folder / "mesh.yaml"
        before = path.exists() and path.read_text()
        self.write_config(text)
        if path.read_text() != before:
            self.wait_in_force(mark)

    def wait_in_force(self, mark):
        def look():
            refused = self.lines(mark, msg="update refused")
            if refused:
                raise Missing(f"{self.name} refused its configuration: {refused[-1].get('error')}")
            if self.process.poll() is not None:
                raise Missing(f"{self.name} exited {self.process.returncode}:\n{self.log(mark)}")
            return self.lines(mark, msg="snapshot in force")
        wait_until(f"{self.name} has its configuration in force", look)

    def refuse(self, text=None):
        """Writes a configuration that must be refused; returns the line that says why."""
        mark = self.mark()
        self.write_config(text)
        return self.wait_line(mark, msg="update refused")

    # What the programs said.

    def wait_conn(self, mark=0, seconds=10, **wanted):
        return self.wait_line(mark, seconds, msg="conn", **wanted)

    def address(self, configured):
        """Where a `listen` of the configuration, or one of metrics, health, admin, really listens: (host, port)."""
        if configured in ("metrics", "health"):
            line = self.wait_line(msg="listening", what=configured)
        else:
            line = self.wait_line(msg="listening", configured=configured)
        return split_address(line["address"])

    def http(self, what, path):
        host, port = self.address(what)
        with self.netns.entered() if self.netns else contextlib.nullcontext():
            connection = http.client.HTTPConnection("127.0.0.1" if host in ("::", "0.0.0.0") else host, port, timeout=10)
            connection.connect()
        connection.request("GET", path)
        reply = connection.getresponse()
        body = reply.read().decode()
        connection.close()
        return reply.status, body

    def status(self, connections=0):
        """GET /status on the admin socket, as a dict."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.folder / "admin.sock"))
            sock.sendall(f"GET /status?connections={connections} HTTP/1.1\r\nHost: tabard\r\nConnection: close\r\n\r\n".encode())
            reply = http.client.HTTPResponse(sock)
            reply.begin()
            body = reply.read()
        assert reply.status == 200, body
        return json.loads(body)

    def metrics(self):
        """Every sample by its name and labels, as in the text: 'tabard_proxy_up' or 'x{a="b"}'."""
        status, text = self.http("metrics", "/metrics")
        assert status == 200, text
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def metric(self, name, **labels):
        """The sum of a metric's samples that carry these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(value for sample, value in self.metrics().items()
                   if sample.split("{")[0] == name and all(label in sample for label in wanted))

    def proxy_pid(self):
        return int(self.status().get("proxy_pid", 0))

    # How they end.

    def stop(self, seconds=20):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def close(self):
        if self in Agent.alive:
            Agent.alive.remove(self)
        if self.process and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.terminate()
                self.process.wait(timeout=0.3)
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        Agent.reports += [self.log()[found.start():][:4000] for found in list(REPORT.finditer(self.log()))[:1]]
        shutil.rmtree(self.folder, ignore_errors=True)


class Service:
    """A plain TCP service in this process: `handler(sock)` runs in a thread of its own for every connection."""

    def __init__(self, handler=None, *, address=("127.0.0.1", 0), netns=None):
        self.handler = handler or echo
        self.num_connections = 0
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with netns.entered() if netns else contextlib.nullcontext():
            self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(512)
        self.address = self.listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.num_connections += 1
                threading.Thread(target=self._serve, args=(sock, self.handler), daemon=True).start()

    @staticmethod
    def _serve(sock, handler):
        with sock, contextlib.suppress(OSError):
            handler(sock)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def read_all(sock):
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def exchange(sock, data):
    """Sends `data`, reads as many bytes back, and returns them."""
    sock.sendall(data)
    got = b""
    while len(got) < len(data):
        part = sock.recv(65536)
        if not part:
            break
        got += part
    return got


def connect(address, netns=None, seconds=10):
    with netns.entered() if netns else contextlib.nullcontext():
        return socket.create_connection(address, timeout=seconds)


def refuses(address):
    try:
        connect(address).close()
        return False
    except ConnectionRefusedError:
        return True


def is_turned_away(address, netns=None, say=b""):
    """Whether a connection ends without an answer. The reset may be there before connect() has returned."""
    try:
        with connect(address, netns) as sock:
            sock.sendall(say)
            return is_reset_or_closed(sock)
    except ConnectionResetError:
        return True


def how_it_ends(sock):
    """How the far end ends the connection: "clean", "reset", or "not" within the socket's timeout."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        return "reset"
    except socket.timeout:
        return "not"
    return "clean"


def is_reset_or_closed(sock):
    return how_it_ends(sock) != "not"
