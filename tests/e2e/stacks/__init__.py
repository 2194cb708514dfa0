# SPDX-License-Identifier: Apache-2.0
"""TLS peers of several stacks, in both roles, behind one command line (peer.py says which)."""
import contextlib
import ctypes.util
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
STACKS = ("openssl", "gnutls", "nss", "go", "java", "node")
# What each needs on the machine: programs, then shared libraries.
NEEDS = {"openssl": ([], []), "gnutls": ([], ["gnutls"]), "nss": (["certutil", "pk12util", "openssl"], ["ssl3", "nspr4"]),
         "go": (["go"], []), "java": (["javac", "java"], []), "node": (["node"], [])}


def why_not(stack):
    """Why there is no peer of this stack here, or None."""
    programs, libraries = NEEDS[stack]
    missing = [name for name in programs if shutil.which(name) is None]
    missing += [f"lib{name}" for name in libraries if ctypes.util.find_library(name) is None]
    return f"{stack}: {', '.join(missing)} not installed" if missing else None


class Stacks:
    """Makes peers. Those that are compiled are compiled once, when the first is asked for."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-stacks-"))
        self.lock = threading.Lock()

    def _compile(self, made, *command):
        with self.lock:
            if not (self.folder / made).exists():
                done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
                assert done.returncode == 0, done.stdout + done.stderr

    def command(self, stack, java=()):
        """The start of the command line; `java` are flags of the Java machine."""
        if stack == "go":
            self._compile("peer", "go", "build", "-o", self.folder / "peer", HERE / "peer.go")
            return [self.folder / "peer"]
        if stack == "java":
            self._compile("Peer.class", "javac", "-d", self.folder, HERE / "Peer.java")
            return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *java, "-cp", self.folder, "Peer"]
        if stack == "node":
            return ["node", HERE / "peer.js"]
        return [sys.executable, "-B", HERE / "peer.py", stack]

    def peer(self, stack, role, address, certificate, roots, *, java=(), **options):
        named = [f"{name}={value}" for name, value in options.items()]
        return Peer(stack, [*self.command(stack, java), role, *address, certificate.chain, certificate.key, roots, *named])

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Peer:
    """One running peer. What it prints is read by a thread, so that every wait has a deadline."""

    def __init__(self, stack, command):
        self.stack = stack
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)
        self.lines, self.said = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self, start, seconds=20):
        """The rest of the next line that begins so."""
        while True:
            try:
                line = self.lines.get(timeout=seconds)
            except queue.Empty:
                line = None
            assert line is not None, f"{self.stack} never said {start!r}; it said {self.said}"
            self.said.append(line)
            if line.startswith(start):
                return line[len(start):].strip()

    def port(self):
        return int(self.line("listening"))

    def connected(self):
        """Waits for the end of the handshake; returns the protocol, or None."""
        protocol = self.line("connected")
        return None if protocol == "-" else protocol

    def go_on(self):
        """Lets one that waits begin to read."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def outcome(self, seconds=20):
        """How the stream ended: (bytes read, "clean" or "closed" or "error: ...")."""
        while True:
            line = self.line("", seconds)
            number, found, how = line.partition(" bytes, ")
            if found:
                return int(number), how

    def close(self):
        self.process.kill()
        with contextlib.suppress(OSError):
            self.process.communicate()
