# SPDX-License-Identifier: Apache-2.0
"""The cluster itself, without Tabard in it."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

import images
import programs
import workloads
from daemon import Daemon, wait_until
from node import Node


def test_an_image_of_the_same_files_is_the_same(tmp_path):
    source = tmp_path / "program"
    source.write_text("#!/bin/sh\n")
    for name in ("one", "two"):
        images.write_archive(tmp_path / f"{name}.tar", "localhost/x:1", {"/bin/program": source}, entrypoint=["/bin/program"])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_program_is_found_and_ended_by_another_process_than_the_one_that_started_it(tmp_path):
    start = ("import sys; from daemon import Daemon; Daemon(sys.argv[1], 'sleeper', ['sleep', '600']).start()")
    subprocess.run([sys.executable, "-B", "-c", start, tmp_path], cwd=programs.HERE, check=True)
    found = Daemon(tmp_path, "sleeper", [])
    assert found.pid
    found.stop()
    assert found.pid is None


def test_a_process_that_got_the_pid_of_another_is_not_taken_for_it(tmp_path):
    sleeper = Daemon(tmp_path, "sleeper", ["sleep", "600"])
    sleeper.start()
    try:
        pid, start = sleeper.pid_path.read_text().split()
        stranger = Daemon(tmp_path, "stranger", [])
        stranger.pid_path.write_text(f"{pid} {int(start) + 1}\n")
        assert stranger.pid is None
    finally:
        sleeper.stop()


@pytest.mark.skipif(bool(programs.why_no_node()), reason=f"no node: {programs.why_no_node()}")
def test_what_a_killed_run_left_of_a_node_is_ended_by_the_next(tmp_path):
    node = Node("tabard-test-node", tmp_path)
    node.start()
    group = next(iter(node.groups()))
    left = subprocess.Popen(node.command(["sh", "-c", f"mount -t tmpfs none {tmp_path}; echo $$ >{group}/cgroup.procs; sleep 600"]))
    wait_until(lambda: left.pid in node.processes(), "the process is in the node")

    Node("tabard-test-node", tmp_path).stop()
    assert left.wait(timeout=5) == -9
    assert not any(folder.exists() for folder in node.groups())
    assert "tabard-test-node" not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.cluster
def test_pods_call_each_other_by_the_name_of_a_service(namespace):
    namespace.apply(*workloads.server("web"), *workloads.caller("client"))
    namespace.rolled_out("deployment/web")
    namespace.rolled_out("deployment/client")
    name = f"http://web.{namespace.namespace}.svc.cluster.local"
    said = json.loads(namespace.exec("deployment/client", "/bin/app", "call", name))
    assert said["name"] == "web" and said["pod"].startswith("web-")


@pytest.mark.cluster
def test_the_api_server_says_which_version_is_pinned(kube):
    assert kube.json("version")["serverVersion"]["gitVersion"] == f"v{programs.kubernetes_version()}"


@pytest.mark.cluster
def test_pods_outlive_a_restart_of_kubelet_and_containerd(own_cluster, namespace):
    namespace.apply(*workloads.server("web"))
    namespace.rolled_out("deployment/web")

    def pods():
        return [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
                for pod in namespace.json("get", "pods")["items"]]

    before = pods()
    own_cluster.restart("kubelet", "containerd")
    namespace.exec("deployment/web", "/bin/app", "call", "http://127.0.0.1:8080")
    assert pods() == before
