# SPDX-License-Identifier: Apache-2.0
"""The traffic: web's long connections and short calls to api, which must not lose or mix up a byte, and those whose calls must
never get through. The services keep the book: whoever reaches one says its name first."""
import contextlib
import os
import random
import socket
import threading
import time

from mesh import Service, connect
from world import SERVICE_PORT

NUM_FLOWS, NUM_CALLERS = 4, 2
PATIENCE_S = 20
BLOCK_BYTES_MAX = 32768


class Book:
    """What happened, each entry with its time on the monotonic clock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.arrivals, self.broken, self.failed, self.wrong = [], [], [], []
        self.num_calls = self.num_bytes = 0

    def note(self, entries, *what):
        with self.lock:
            entries.append((time.monotonic(), *what))

    def since(self, entries, moment, until=float("inf")):
        with self.lock:
            return [entry for entry in entries if moment <= entry[0] <= until]


class Load:
    def __init__(self, world, seed):
        self.world, self.book = world, Book()
        self.over = threading.Event()
        self.services = {name: Service(self._serve(name), address=("0.0.0.0", SERVICE_PORT), netns=world.net[name])
                         for name in ("web", "api")}
        jobs = [(self._flow, seed + number) for number in range(NUM_FLOWS)] + [(self._calls, number) for number in range(NUM_CALLERS)]
        jobs += [(self._intrude, "stranger", "api"), (self._intrude, "outside", "api"), (self._intrude, "outside", "web"),
                 (self._intrude, "stranger", "web")]
        self.threads = [threading.Thread(target=job[0], args=job[1:], daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE_S + 5)
        for service in self.services.values():
            service.close()

    def _serve(self, called):
        def handler(sock):
            with sock.makefile("rb") as lines:
                caller = lines.readline(100).decode(errors="replace").strip()
                if caller:
                    self.book.note(self.book.arrivals, caller, called, "%s:%d" % sock.getpeername())
                while data := lines.read1(65536):
                    sock.sendall(data)
        return handler

    def _connect(self, caller, called, seconds=PATIENCE_S):
        sock = connect((self.world.net[called].ipv4, SERVICE_PORT), self.world.net[caller], seconds)
        sock.sendall(f"{caller}\n".encode())
        return sock

    def _exchange(self, sock, data):
        """Whether the bytes came back. Other bytes than those are an entry of their own."""
        sock.sendall(data)
        got = b""
        while len(got) < len(data):
            part = sock.recv(65536)
            if not part:
                raise ConnectionError("the end, in the middle of an exchange")
            got += part
        if got != data:
            self.book.note(self.book.wrong, f"{len(data)} bytes came back as others")
            raise ConnectionError("other bytes")
        with self.book.lock:
            self.book.num_bytes += len(data)

    def _flow(self, seed):
        chance = random.Random(seed)
        while not self.over.is_set():
            try:
                with self._connect("web", "api") as sock:
                    while not self.over.wait(0.02):
                        self._exchange(sock, os.urandom(chance.randint(1, BLOCK_BYTES_MAX)))
            except OSError as error:
                self.book.note(self.book.broken, repr(error))
                self.over.wait(0.2)

    def _calls(self, _number):
        while not self.over.wait(0.05):
            try:
                with self._connect("web", "api") as sock:
                    self._exchange(sock, b"a call")
                with self.book.lock:
                    self.book.num_calls += 1
            except OSError as error:
                self.book.note(self.book.failed, repr(error))

    def _intrude(self, caller, called):
        """Calls that must fail: what gets through stands in the book of the one that was called."""
        while not self.over.wait(0.1):
            with contextlib.suppress(OSError), self._connect(caller, called, 2) as sock:
                sock.recv(1)

    def call(self, caller, called):
        """Whether a call is answered."""
        try:
            with self._connect(caller, called, 3) as sock:
                sock.settimeout(3)
                self._exchange(sock, b"once")
                return True
        except (OSError, socket.timeout):
            return False
