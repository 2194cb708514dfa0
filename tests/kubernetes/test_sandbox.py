# SPDX-License-Identifier: Apache-2.0
"""The sandbox of a sidecar in a pod, under the webhook's security context and the container runtime's own limits."""
import json
import sys
from pathlib import Path

import pytest

import workloads
from cluster import Cluster
from daemon import wait_until

sys.path.append(str(Path(__file__).resolve().parents[1] / "e2e"))

import inside  # noqa: E402

pytestmark = pytest.mark.cluster

AGENT = ["no_new_privileges", "capabilities", "not_dumpable", "keys_locked", "landlock_files", "landlock_scopes", "seccomp"]
PROXY = ["user", "no_new_privileges", "capabilities", "not_dumpable", "limits", "landlock_files", "landlock_ports", "landlock_scopes",
         "seccomp"]
# What may be missing in a pod, and why: the kernel of the node, or the container runtime.
REASONS = {"user": "the agent is not root", "keys_locked": "RLIMIT_MEMLOCK", "landlock_files": "Landlock", "landlock_ports": "Landlock",
           "landlock_scopes": "Landlock", "seccomp": "seccomp"}


@pytest.fixture
def web(meshed):
    meshed.apply(*workloads.server("web"))
    meshed.rolled_out("deployment/web")
    return meshed


def tabardctl(kube, *words):
    return kube("exec", "deployment/web", "-c", "tabard", "--", "tabardctl", *words)


def status(kube):
    return json.loads(tabardctl(kube, "status", "--json"))


def pod(kube):
    one, = kube.json("get", "pods", "-l", "app=web")["items"]
    return one


def layers(whole, program):
    return {layer["name"]: layer for layer in whole[f"{program}_sandbox"]}


def log(kube):
    return kube("logs", pod(kube)["metadata"]["name"], "-c", "tabard").splitlines()


def host_pid(uid, name):
    """The process of a pod's program, as the node's machine numbers it. 0: there is none."""
    marks = f"pod{uid}", f"pod{uid.replace('-', '_')}"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() == name and any(mark in (folder / "cgroup").read_text() for mark in marks):
                return int(folder.name)
        except OSError:
            pass  # it has ended
    return 0


def facts(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_status_in_a_pod_says_which_layers_are_in_force_and_who_could_not_give_the_others(web, cluster):
    security = next(one for one in pod(web)["spec"]["initContainers"] if one["name"] == "tabard")["securityContext"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"} and security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] and security["runAsNonRoot"] and not security["allowPrivilegeEscalation"]
    whole, said, warned = status(web), tabardctl(web, "status"), log(web)
    for program, names in (("agent", AGENT), ("proxy", PROXY)):
        shown = layers(whole, program)
        assert list(shown) == names
        missing = {name: layer["why"] for name, layer in shown.items() if not layer.get("in_force")}
        assert missing.keys() <= REASONS.keys(), missing
        for name, why in missing.items():
            assert REASONS[name] in why
            assert f"{name} MISSING: {why}" in said
            assert any(f"program=tabard-{program}" in line and f"layer={name} " in line for line in warned)
        if isinstance(cluster, Cluster):  # a node that this machine's kernel runs, and containerd
            assert missing.keys() == ({"user"} if program == "proxy" else set()), missing


def test_the_kernel_shows_the_sandbox_of_a_pod_s_proxy_as_well(web, cluster):
    if not isinstance(cluster, Cluster):
        pytest.skip("looks at the processes of a node that runs on this machine")
    uid = pod(web)["metadata"]["uid"]
    agent, proxy = (facts(host_pid(uid, f"tabard-{name}")) for name in ("agent", "proxy"))
    for one in (agent, proxy):
        assert one["Uid"].split() == ["1337"] * 4 and one["NoNewPrivs"] == "1" and one["Seccomp"] == "2"
        assert {int(one[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert int(agent["Seccomp_filters"]) == 3, "the runtime's, and two of its own"
    assert int(proxy["Seccomp_filters"]) == 4


def test_a_violation_in_a_pod_is_told_and_the_pod_goes_on_serving(web, cluster):
    reason = inside.why_not() or (not isinstance(cluster, Cluster) and "looks into a process of a node that runs on this machine")
    if reason:
        pytest.skip(reason)
    uid = pod(web)["metadata"]["uid"]
    first = host_pid(uid, "tabard-proxy")
    with pytest.raises(inside.Killed):
        inside.call(first, "openat", -100, b"/etc/passwd\0", 0, 0, tid=inside.thread(first, "worker-0"))
    told = wait_until(lambda: [line for line in log(web) if 'msg="the proxy broke its sandbox"' in line], "it is told")
    assert len(told) == 1 and 'system_call="openat"' in told[0] and "level=error" in told[0]
    second = wait_until(lambda: host_pid(uid, "tabard-proxy") not in (0, first) and host_pid(uid, "tabard-proxy"), "another proxy")
    wait_until(lambda: tabardctl(web, "status").startswith("ready\n"), "it is ready")
    assert facts(second)["Seccomp"] == "2"
    restarts = {one["name"]: one["restartCount"] for one in pod(web)["status"]["initContainerStatuses"]}
    assert restarts["tabard"] == 0, "the agent starts another proxy by itself"
