# SPDX-License-Identifier: Apache-2.0
"""What becomes of pods in the mesh when something of it, or of the cluster, ends by force."""
import json
import signal
import subprocess
import time

import pytest

import pods
import workloads
from daemon import wait_until
from load import Load

pytestmark = pytest.mark.cluster


@pytest.fixture
def web(meshed):
    """A namespace with a server, a client that may call it, and one that may not."""
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), *workloads.caller("stranger"),
                 workloads.policy("web", meshed.namespace, "client", to="web"))
    for name in ("web", "client", "stranger"):
        meshed.rolled_out(f"deployment/{name}")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    return meshed


def the_pod(kube, app):
    """The one pod of a Deployment."""
    found = [pod for pod in kube.json("get", "pods", "-l", f"app={app}")["items"] if not pod["metadata"].get("deletionTimestamp")]
    assert len(found) == 1, [pod["metadata"]["name"] for pod in found]
    return found[0]


def test_a_killed_proxy_is_started_again_by_its_agent(own_cluster, web):
    pod = the_pod(web, "web")
    assert pods.kill(own_cluster, pod, "tabard-proxy") == 1
    web.exec("deployment/client", "/bin/app", "call", "http://web")
    after = the_pod(web, "web")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert pods.sidecar_restarts(after) == 0


def test_a_killed_agent_is_started_again_and_nothing_passes_meanwhile(own_cluster, web):
    stranger = Load(web, account="stranger")
    for round_number in range(2):
        pod = the_pod(web, "web")
        assert pods.kill(own_cluster, pod, "tabard-agent") == 1
        wait_until(lambda: pods.sidecar_restarts(the_pod(web, "web")) == round_number + 1, "the sidecar is started again", seconds=60,
                   every=0.3)
        web.exec("deployment/client", "/bin/app", "call", "http://web", seconds=60)
    wait_until(lambda: pods.is_ready(the_pod(web, "web")), "the pod is ready again", every=0.3)
    said = stranger.end()
    assert said["calls"] == said["failed"] > 20, stranger.log


def in_network_of(cluster, pod, *command, said=""):
    """Runs a program of the node's in a pod's network namespace."""
    pid = pods.pids(cluster, pod, "tabard-agent")[0]
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", *map(str, command)]
    return subprocess.run(command, input=said, capture_output=True, text=True, check=True).stdout


def test_flushed_rules_take_a_pod_out_of_its_service_until_they_are_back(own_cluster, web):
    """A sidecar of a pod may not put rules back, and can't hear of them: it finds out by asking."""
    pod = the_pod(web, "web")
    rules = in_network_of(own_cluster, pod, "nft", "list", "table", "inet", "tabard")
    in_network_of(own_cluster, pod, "nft", "flush", "ruleset")
    wait_until(lambda: not pods.is_ready(the_pod(web, "web")), "the pod is not ready", seconds=20, every=0.1)
    assert "interception is lost" in web("exec", pod["metadata"]["name"], "-c", "tabard", "--", "/usr/bin/tabardctl", "status",
                                        check=False)
    in_network_of(own_cluster, pod, "nft", "-f", "-", said=rules)
    wait_until(lambda: pods.is_ready(the_pod(web, "web")), "the pod is ready again", seconds=30, every=0.1)
    web.exec("deployment/client", "/bin/app", "call", "http://web")
    assert pods.sidecar_restarts(the_pod(web, "web")) == 0


def test_a_hung_proxy_takes_its_pod_out_of_the_service_and_is_replaced(own_cluster, web):
    pod = the_pod(web, "web")
    hung = pods.pids(own_cluster, pod, "tabard-proxy")
    assert pods.kill(own_cluster, pod, "tabard-proxy", signal.SIGSTOP) == 1
    wait_until(lambda: not pods.is_ready(the_pod(web, "web")), "the pod is not ready", seconds=40, every=0.1)
    wait_until(lambda: pods.pids(own_cluster, pod, "tabard-proxy") not in (hung, []), "there is another proxy", seconds=60, every=0.3)
    wait_until(lambda: pods.is_ready(the_pod(web, "web")), "the pod is ready again", seconds=30, every=0.1)
    web.exec("deployment/client", "/bin/app", "call", "http://web")
    assert pods.sidecar_restarts(the_pod(web, "web")) == 0


def test_pods_serve_on_and_stay_ready_without_policyd(own_cluster, mesh, web):
    mesh("scale", "deployment/tabard-policyd", "--replicas=0")
    try:
        wait_until(lambda: not mesh.json("get", "pods")["items"], "policyd is gone", every=0.3)
        begun = time.monotonic()
        # Longer than the kubelet needs to end what is not live.
        while time.monotonic() - begun < 35:
            web("exec", "deployment/client", "-c", "app", "--", "/bin/app", "call", "http://web", "--times", 20)
            time.sleep(1)
        pod = the_pod(web, "web")
        assert pods.is_ready(pod) and pods.sidecar_restarts(pod) == 0
    finally:
        mesh("scale", "deployment/tabard-policyd", "--replicas=2")
        mesh.rolled_out("deployment/tabard-policyd")
    web.exec("deployment/client", "/bin/app", "call", "http://web")


def test_killed_policyds_cost_no_request_and_what_changes_afterwards_counts(own_cluster, mesh, web):
    load = Load(web)
    for pod in mesh.json("get", "pods")["items"]:
        assert pods.kill(own_cluster, pod, "tabard-policyd") == 1
    mesh.rolled_out("deployment/tabard-policyd")
    web.apply(workloads.policy("stranger", web.namespace, "stranger", to="web"))
    web.exec("deployment/stranger", "/bin/app", "call", "http://web", seconds=60)
    said = load.end()
    assert said["failed"] == 0, load.log


def test_a_node_whose_kubelet_and_containerd_restart_loses_no_request(own_cluster, web):
    # A kubelet that has just started takes a pod for not ready until it has asked it, with a mesh or without one.
    web("patch", "service/web", "-p", json.dumps({"spec": {"publishNotReadyAddresses": True}}))
    load = Load(web)
    own_cluster.restart("kubelet", "containerd")
    web.exec("deployment/client", "/bin/app", "call", "http://web")
    said = load.end()
    assert said["failed"] == 0, load.log
    assert pods.sidecar_restarts(the_pod(web, "web")) == 0


def test_an_api_server_that_is_away_costs_no_request_and_policy_follows_when_it_is_back(own_cluster, mesh, web):
    load = Load(web)
    own_cluster.lose_api_server()
    try:
        time.sleep(15)  # that long it is away: the point of the test, not a wait for something
    finally:
        own_cluster.resume("kube-apiserver")
    web.apply(workloads.policy("stranger", web.namespace, "stranger", to="web"))
    web.exec("deployment/stranger", "/bin/app", "call", "http://web", seconds=60)
    said = load.end()
    assert said["failed"] == 0, load.log
