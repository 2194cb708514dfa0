# SPDX-License-Identifier: Apache-2.0
"""Many callers at once, strangers who hold connections, and a small container's share of a core."""
import contextlib
import os
import resource
import selectors
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
QUESTION, ANSWER = b"q" * 100, b"a" * 100

# A herd takes more descriptors than a process is given at first; what we start inherits the limit.
_, MOST_DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_DESCRIPTORS, MOST_DESCRIPTORS))


class Answers:
    """A service in a process of its own that answers each QUESTION on any number of connections."""

    def __init__(self):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", sys.executable, "-B", __file__], stdout=subprocess.PIPE, text=True)
        self.address = ("127.0.0.1", int(self.process.stdout.readline()))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def answer_for_ever():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            data = b""
            with contextlib.suppress(OSError):
                data = key.fileobj.recv(4096)
            if data:
                key.fileobj.send(ANSWER[:len(data)])
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def call_at_once(address, number, seconds, stays_open=True):
    """`number` plain callers connect at once, ask, and wait for their answers, as long as `seconds`. With stays_open each
    keeps its connection until all are done. Returns (how many were answered, how many were turned away, seconds until the last answer)."""
    selector, begun, last = selectors.DefaultSelector(), time.monotonic(), 0.0
    answered = refused = 0
    socks = []
    for _ in range(number):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        selector.register(sock, selectors.EVENT_WRITE)
        socks.append(sock)
    while answered + refused < number and time.monotonic() - begun < seconds:
        for key, events in selector.select(0.1):
            sock = key.fileobj
            try:
                if events & selectors.EVENT_WRITE:
                    sock.sendall(QUESTION)
                    selector.modify(sock, selectors.EVENT_READ)
                elif sock.recv(4096):
                    answered += 1
                    last = time.monotonic() - begun
                    selector.unregister(sock)
                    if not stays_open:
                        sock.close()
                else:
                    raise ConnectionError
            except OSError:
                refused += 1
                selector.unregister(sock)
    for sock in socks:
        sock.close()
    return answered, refused, last


class Strangers:
    """`number` connections that say `first` and then nothing. Each that is ended comes again, when renew() is called."""

    def __init__(self, address, number, first=b""):
        self.address, self.first = address, first
        self.selector = selectors.DefaultSelector()
        self.num_ended = 0
        for _ in range(number):
            self._open()

    def _open(self):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self.address)
        self.selector.register(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.first else 0))

    def renew(self):
        for key, events in self.selector.select(0):
            sock = key.fileobj
            try:
                if events & selectors.EVENT_WRITE:
                    sock.send(self.first)
                    self.selector.modify(sock, selectors.EVENT_READ)
                    continue
                if sock.recv(4096):
                    continue
            except OSError:
                pass
            self.selector.unregister(sock)
            sock.close()
            self.num_ended += 1
            self._open()

    def close(self):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()


def handshakes(address, context, number, meanwhile=lambda: None, seconds=5):
    """`number` handshakes and questions, one after the other; returns (seconds of each that was answered, how the others
    ended)."""
    took, failed = [], []
    for _ in range(number):
        begun = time.monotonic()
        try:
            with socket.create_connection(address, timeout=seconds) as raw, context.wrap_socket(raw) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(QUESTION)
                if sock.recv(4096):
                    took.append(time.monotonic() - begun)
                else:
                    failed.append("closed")
        except (OSError, ssl.SSLError) as error:
            failed.append(str(error))
        meanwhile()
    return took, failed


class ShareOfACore:
    """Processes may use `percent` of a core together, as a small container's may. Root, and cgroups v1 or v2."""

    def __init__(self, name, percent, pids):
        self.pids = pids
        version_1 = CGROUPS / "cpu" / "cgroup.procs"
        self.parent = version_1.parent if version_1.exists() else CGROUPS
        self.folder = self.parent / f"tabard-{name}-{os.getpid()}"
        try:
            if not version_1.exists():
                (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
            self.folder.mkdir()
            if version_1.exists():
                (self.folder / "cpu.cfs_period_us").write_text("100000")
                (self.folder / "cpu.cfs_quota_us").write_text(str(percent * 1000))
            else:
                (self.folder / "cpu.max").write_text(f"{percent * 1000} 100000")
            for pid in pids:
                (self.folder / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            self.close()
            raise Unavailable(f"no share of a core can be given here: {error}") from error

    def close(self):
        for pid in self.pids:
            with contextlib.suppress(OSError):
                (self.parent / "cgroup.procs").write_text(str(pid))
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class Unavailable(Exception):
    """This machine can't do it; the text says why."""


if __name__ == "__main__":
    answer_for_ever()
