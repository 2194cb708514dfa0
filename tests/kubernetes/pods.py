# SPDX-License-Identifier: Apache-2.0
"""Pods: what is known of their sidecars, and, in the rig's cluster, their processes seen from the node."""
import contextlib
import os
import re
import signal
from pathlib import Path


def processes(cluster, pod_uid):
    """[(pid, name)] of a pod's processes."""
    found = []
    for pid in cluster.node.processes():
        with contextlib.suppress(OSError):
            if pod_uid in Path(f"/proc/{pid}/cgroup").read_text():
                found.append((pid, Path(f"/proc/{pid}/comm").read_text().strip()))
    return found


def pids(cluster, pod, name):
    """Those of the program `name` in a pod, an object of the API."""
    return [pid for pid, other in processes(cluster, pod["metadata"]["uid"]) if other == name[:15]]


def kill(cluster, pod, name, number=signal.SIGKILL):
    """Ends a program of a pod. Returns how many processes that were."""
    found = pids(cluster, pod, name)
    for pid in found:
        os.kill(pid, number)
    return len(found)


def memory_kib(cluster, pod, name):
    """The proportional set size of a program in a pod, in KiB."""
    total = 0
    for pid in pids(cluster, pod, name):
        total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    return total


def shim_of(pid):
    """The containerd-shim above a process."""
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if Path(f"/proc/{pid}/comm").read_text().startswith("containerd-shim"):
            return pid
    return None


def sidecar_restarts(pod):
    return sum(one["restartCount"] for one in pod["status"].get("initContainerStatuses", []) if one["name"] == "tabard")


def is_ready(pod):
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def serial_of(kube, what):
    """The serial number of the certificate that the sidecar of a pod (POD, deployment/NAME) has in force; "" if it says none."""
    said = kube("exec", what, "-c", "tabard", "--", "/usr/bin/tabardctl", "status", check=False)
    found = re.search(r"^certificate: .* serial (\w+)$", said, re.M)
    return found[1] if found else ""
