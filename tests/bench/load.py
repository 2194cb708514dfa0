# SPDX-License-Identifier: Apache-2.0
"""What drives the subjects, and the plain backends behind them: wrk and iperf3, nginx and iperf3, and an open-loop client
of our own (tests/bench/openloop.c), since wrk and h2load count no time that a request waits to be sent."""
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time

import peers
from host import Failed, Process, Window, tree

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
BODY = "It is small, as the answers of most calls between services are: a hundred bytes, more or less, of text.\n"


class HttpBackend:
    """nginx with a small body, and a count of the requests that it has answered."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.port, status = peers.mesh.free_port(), peers.mesh.free_port()
        body = BODY.replace("\n", "\\n")
        command = peers.nginx_command(folder, "backend", 1, f"""http {{
            access_log off; keepalive_requests 1000000000; keepalive_timeout 2h; reset_timedout_connection on;
            server {{ listen 127.0.0.1:{self.port} backlog=4096; location / {{ return 200 "{body}"; }} }}
            server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }} }}""")
        self.process = Process("the backend", command, folder / "backend.log")
        self.process.wait_listening(self.port)
        self.process.wait_listening(status)
        self.status = http.client.HTTPConnection("127.0.0.1", status, timeout=10)
        self.num_own_requests = 0

    def look(self):
        """(requests answered to others, connections open)."""
        self.status.request("GET", "/")
        numbers = list(map(int, re.findall(r"\d+", self.status.getresponse().read().decode())))
        self.num_own_requests += 1
        return numbers[3] - self.num_own_requests, numbers[0] - 1

    def pids(self):
        return tree(self.process.pid)

    def close(self):
        self.process.close()


class BulkBackend:
    """iperf3's server: it sends or takes as much as it can."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = peers.mesh.free_port()
        self.process = Process("iperf3 -s", ["iperf3", "-s", "-B", "127.0.0.1", "-p", self.port], folder / "iperf3.log")
        self.process.wait_listening(self.port)

    def pids(self):
        return tree(self.process.pid)

    def close(self):
        self.process.close()


class Running:
    """A load generator while it runs."""

    def __init__(self, *command):
        self.popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.command = command

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        self.popen.stdout.close()

    def output(self, seconds):
        try:
            text, _ = self.popen.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{self.command[0]} did not end within {seconds:.0f} s") from error
        if self.popen.returncode != 0:
            raise Failed(f"{self.command[0]} exited {self.popen.returncode}: {text[-600:]}")
        return text


def first_request(port, seconds=15):
    """One request all the way through, so that the path is known to work before it is measured."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/")
            if connection.getresponse().read().decode() == BODY:
                return
            raise Failed("the first answer is not the backend's")
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise Failed(f"no answer through port {port}: {error}") from error
            time.sleep(0.05)
        finally:
            connection.close()


def requests(subject, backend, connections, seconds, *, reconnect=False):
    """wrk for a while; what is measured is a window within, once all connections are there.

    Returns (requests in the window, the Window with the CPU time of subject, generator and backend).
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds + 3}s", "--timeout", "10s",
               *(["-H", "Connection: close"] if reconnect else []), f"http://127.0.0.1:{subject.entry}/"]
    with Running(*command) as wrk:
        deadline = time.monotonic() + 10
        warm = 0.2
        while not reconnect and backend.look()[1] < connections:
            if time.monotonic() > deadline or wrk.popen.poll() is not None:
                raise Failed(f"{connections} connections are not open after 10 s")
            warm = 0.3
            time.sleep(0.02)
        time.sleep(warm)
        window = Window(subject=subject.pids(), generator=tree(wrk.popen.pid), backend=backend.pids())
        before, _ = backend.look()
        time.sleep(seconds)
        after, _ = backend.look()
        window.end()
        wrk.popen.send_signal(signal.SIGINT)
        said = wrk.output(15)
    errors = re.search(r"(Socket errors: .*|Non-2xx.*)", said)
    if errors and not re.fullmatch(r"Socket errors: connect 0, read 0, write 0, timeout 0", errors[1]):
        # wrk counts the reads that its own end cuts off; only many of them are news.
        if sum(map(int, re.findall(r"\d+", errors[1]))) > connections:
            raise Failed(f"wrk says: {errors[1]}")
    return after - before, window


def bulk(subject, backend, seconds, *, up):
    """One iperf3 stream. Returns (bytes received, Window)."""
    command = ["iperf3", "-c", "127.0.0.1", "-p", subject.entry, "-t", seconds, "-J", *([] if up else ["-R"])]
    with Running(*command) as iperf3:
        window = Window(subject=subject.pids(), backend=backend.pids())
        said = json.loads(iperf3.output(seconds + 30))
        if "error" in said:
            raise Failed(f"iperf3 says: {said['error']}")
        end = said["end"]
        # Its CPU clock is gone with it: what it reports stands for it.
        window.end(generator=end["cpu_utilization_percent"]["host_total"] / 100 * seconds)
    return end["sum_received"]["bytes"], window


def open_loop(subject, rate, connections, seconds, *, meanwhile=None):
    """Requests at a fixed rate; `meanwhile` runs in a thread beside them. Returns openloop's result as a dict."""
    with Running(peers.own("openloop"), subject.entry, rate, connections, seconds) as running:
        if running.popen.stdout.readline().strip() != "ready":
            running.output(5)
            raise Failed("openloop did not become ready")
        failures = []

        def beside():
            try:
                meanwhile(seconds)
            except Exception as error:  # told below, in the thread that asked
                failures.append(error)

        thread = threading.Thread(target=beside) if meanwhile else None
        if thread:
            thread.start()
        result = json.loads(running.output(seconds + 20))
        if thread:
            thread.join()
        if failures:
            raise Failed(f"beside the load: {failures[0]}")
    return result


class IdleConnections:
    """Connections that have carried one request each, and now nothing."""

    def __init__(self, port, num):
        self.sockets = []
        try:
            while len(self.sockets) < num:
                batch = [socket.create_connection(("127.0.0.1", port), timeout=30)
                         for _ in range(min(64, num - len(self.sockets)))]
                self.sockets += batch
                self.ask(batch)
        except OSError as error:
            num_open = len(self.sockets)
            self.close()
            raise Failed(f"of {num} connections, one of the first {num_open} failed: {error}") from error

    @staticmethod
    def ask(batch):
        for sock in batch:
            sock.sendall(REQUEST)
        for sock in batch:
            got = b""
            while not got.endswith(BODY.encode()):
                part = sock.recv(65536)
                if not part:
                    raise ConnectionError("a connection ended instead of answering")
                got += part

    def still_answer(self):
        self.ask(self.sockets[::max(1, len(self.sockets) // 50)])

    def close(self):
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.close()
        self.sockets = []
