# SPDX-License-Identifier: Apache-2.0
"""Network namespaces on one Ethernet, for what needs real interception. Root only."""
import contextlib
import ctypes
import os
import subprocess
import threading
from pathlib import Path

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why namespaces can't be had here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["unshare", "--net", "ip", "link", "add", "x", "type", "veth"], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"network namespaces can't be made here: {tried.stderr.strip()}"


def ip(*arguments, check=True):
    done = subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """One host. `ipv4` and `ipv6` are its addresses on the wire."""

    def __init__(self, name, number):
        self.name = name
        self.ipv4 = f"10.77.{number}.1"
        self.ipv6 = f"fd77::{number}:1"
        self.processes = []

    def command(self, command):
        """The command line that runs `command` in here. (`ip netns exec` would remount /sys, which a chroot forbids.)"""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def run(self, *command, check=True, **more):
        done = subprocess.run(self.command(list(map(str, command))), capture_output=True, text=True, timeout=60, **more)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    @contextlib.contextmanager
    def entered(self):
        """Sockets that this thread makes inside the block belong to the namespace, for good."""
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _setns(there)
            try:
                yield self
            finally:
                _setns(home)
        finally:
            os.close(there)
            os.close(home)


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """Namespaces PREFIX-NAME for every name, joined by a bridge in PREFIX-wire."""

    def __init__(self, prefix, names):
        self.wire = Namespace(f"{prefix}-wire", 0)
        self.hosts = {name: Namespace(f"{prefix}-{name}", number) for number, name in enumerate(names, 1)}
        self.close()  # what a run that was killed may have left
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name):
        return self.hosts[name]

    def _make(self):
        wire = self.wire.name
        ip("netns", "add", wire)
        ip("-n", wire, "link", "add", "wire", "type", "bridge")
        ip("-n", wire, "link", "set", "wire", "up")
        for name, host in self.hosts.items():
            ip("netns", "add", host.name)
            ip("-n", wire, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            ip("-n", wire, "link", "set", name, "master", "wire", "up")
            ip("-n", host.name, "link", "set", "lo", "up")
            # Else the kernel takes a link-local address as a source only after a second or two.
            host.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
            ip("-n", host.name, "addr", "add", f"{host.ipv4}/16", "dev", "eth0")
            ip("-n", host.name, "addr", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")
            ip("-n", host.name, "link", "set", "eth0", "up")

    def close(self):
        for host in [*self.hosts.values(), self.wire]:
            if Path(f"/run/netns/{host.name}").exists():
                # Whatever still runs in there would keep the namespace alive.
                for pid in set(ip("netns", "pids", host.name, check=False).split()) - {str(os.getpid())}:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), 9)
                ip("netns", "del", host.name, check=False)
