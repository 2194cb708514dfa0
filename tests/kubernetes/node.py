# SPDX-License-Identifier: Apache-2.0
"""Where a cluster lives on this machine: a network namespace, a mount namespace and a control group of its own. What is started
in there can't collide with the machine's own programs, leaves it by no route, and ends with it."""
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from pathlib import Path

from daemon import Daemon, Failed, wait_until

ADDRESS = "10.200.0.1"
CGROUPS = Path("/sys/fs/cgroup")
CLONE_NEWNET = 0x40000000
LINKS = "/var/log/containers"  # where kubelet makes links to logs, whatever it is told
# What kubelet sets for the whole machine, which it takes for its own, where it reads another value.
MACHINE_SETTINGS = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
                    "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _pass_controllers_on(group):
    """Lets the groups below have what kubelet wants: with cgroup v2, controllers are handed down."""
    for name in ("cpu", "cpuset", "memory", "pids", "io", "hugetlb"):
        with contextlib.suppress(OSError):  # which kubelet names, if it is one that it needs
            (group / "cgroup.subtree_control").write_text(f"+{name}")


class Node:
    """The place. `folder` is the cluster's; it is a mount point in the mount namespace alone."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        # Holds the mount namespace for as long as the node is up. In there kubelet reads of files what it would set.
        settings = "; ".join(f"echo {value} >'{self._setting(name)}'; mount --bind '{self._setting(name)}' /proc/sys/{name}"
                             for name, value in MACHINE_SETTINGS.items())
        self.holder = Daemon(folder, "node", self._in_network([
            "unshare", "--mount", "--propagation", "private", "sh", "-ec",
            f"mount --bind '{folder}' '{folder}'; mount --make-rshared '{folder}'; {settings}; "
            f"mkdir -p {LINKS} '{folder}/links'; mount --bind '{folder}/links' {LINKS}; echo made; exec sleep infinity"]))

    def _setting(self, name):
        return self.folder / f"sysctl-{name.replace('/', '-')}"

    def _in_network(self, command):
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, command)]

    def command(self, command):
        """The command line that runs `command` on the node, for its network and its mounts."""
        return self._in_network(["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--wd={os.getcwd()}", *command])

    def network_command(self, command):
        """As command, with this machine's mounts: for who only calls."""
        return self._in_network(command)

    def start(self):
        if not Path(f"/run/netns/{self.name}").exists():
            self._make_network()
        for group in self.groups():
            if (CGROUPS / "cgroup.controllers").exists():
                _pass_controllers_on(CGROUPS)
            group.mkdir(exist_ok=True)
        self.holder.start()
        wait_until(lambda: "made" in self.holder.log_path.read_text() or not self.holder.pid, "the node's mounts", seconds=10)
        if not self.holder.pid:
            raise Failed(self.holder.log_end())

    def _make_network(self):
        def ip(*words):
            subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("-n", self.name, "link", "add", "br0", "type", "bridge")
        ip("-n", self.name, "addr", "add", f"{ADDRESS}/24", "dev", "br0")
        ip("-n", self.name, "link", "set", "br0", "up")
        ip("-n", self.name, "route", "add", "default", "via", ADDRESS, "dev", "br0")
        subprocess.run(self._in_network(["sysctl", "-qw", "net.ipv4.ip_forward=1"]), check=True)

    @property
    def group(self):
        """The name of the control group, from the root of each hierarchy."""
        return f"/{self.name}"

    def groups(self):
        """Its folders: one with cgroup v2, one for each controller with v1."""
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / self.name]
        return [entry / self.name for entry in CGROUPS.iterdir()
                if entry.is_dir() and not entry.is_symlink() and (entry / "cgroup.procs").exists()]

    def processes(self):
        """Every process of the node: those of the pods by their control group, the others by the network that they are in."""
        found = set()
        for group in self.groups():
            for file in group.glob("**/cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(map(int, file.read_text().split()))
        named = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout
        found.update(map(int, named.split()))
        return found - {os.getpid()}

    def stop(self):
        """Ends whatever is left in there, and the place with it."""
        def end_all():
            left = self.processes()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not left

        wait_until(end_all, f"every process of {self.name} has ended", seconds=20)
        self.holder.pid_path.unlink(missing_ok=True)
        self.holder.log_path.unlink(missing_ok=True)
        for group in self.groups():
            for folder in sorted([group, *group.glob("**/")], key=lambda one: -len(one.parts)):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        if Path(f"/run/netns/{self.name}").exists():
            subprocess.run(["ip", "netns", "del", self.name], check=True)

    @contextlib.contextmanager
    def entered(self):
        """Sockets that this thread makes inside the block belong to the node's network, for good."""
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
