# SPDX-License-Identifier: Apache-2.0
"""A namespace is labelled, and ordinary Deployments in it are in the mesh."""
import json

import pytest

import workloads
from daemon import wait_until

pytestmark = pytest.mark.cluster


def rolled_out_all(kube):
    for one in kube.json("get", "deployments")["items"]:
        kube.rolled_out(f"deployment/{one['metadata']['name']}")


def refused(kube, what, url):
    """What a call says that must fail."""
    done = kube.run(*kube.words("exec", what, "-c", "app", "--", "/bin/app", "call", url))
    assert done.returncode == 1, f"{what} was answered: {done.stdout}"
    return done.stderr


def test_pods_of_a_labelled_namespace_talk_by_mutual_tls_and_policy_decides_by_account(meshed):
    name = meshed.namespace
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), *workloads.caller("stranger"),
                 workloads.policy("web", name, "client", to="web"))
    rolled_out_all(meshed)

    said = json.loads(meshed.exec("deployment/client", "/bin/app", "call", "http://web"))
    assert said["name"] == "web"
    refused(meshed, "deployment/stranger", "http://web")
    wait_until(lambda: f"peer=spiffe://cluster.local/ns/{name}/sa/client " in meshed("logs", "deployment/web", "-c", "tabard"),
               "web's sidecar names the client", seconds=10)
    # Who may not call a service does not even learn that it is one: its own sidecar denies the call.
    wait_until(lambda: "reason=unlisted_destination" in meshed("logs", "deployment/stranger", "-c", "tabard"),
               "the stranger's sidecar says why", seconds=10)


def test_a_changed_policy_counts_for_pods_that_run(meshed):
    meshed.apply(*workloads.server("web"), *workloads.caller("client"))
    rolled_out_all(meshed)
    refused(meshed, "deployment/client", "http://web")
    meshed.apply(workloads.policy("web", meshed.namespace, "client", to="web"))
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    meshed("delete", "meshpolicy", "web")
    wait = meshed.run(*meshed.words("exec", "deployment/client", "-c", "app", "--", "/bin/sh", "-c",
                                    "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/app call http://web || exit 0; sleep 1; done; exit 1"))
    assert wait.returncode == 0, "the deleted policy still lets the client in after 10 s"


def test_a_pod_outside_the_mesh_reaches_none_inside(meshed, namespace):
    name = meshed.namespace
    meshed.apply(*workloads.server("web"), workloads.policy("web", name, "client", to="web"))
    namespace.apply(*workloads.caller("client"))
    rolled_out_all(meshed)
    rolled_out_all(namespace)
    refused(namespace, "deployment/client", f"http://web.{name}")
    address = meshed.json("get", "pods")["items"][0]["status"]["podIP"]
    refused(namespace, "deployment/client", f"http://{address}:8080")


def status_of(kube, name):
    return json.loads(kube("exec", f"deployment/{name}", "-c", "tabard", "--", "tabardctl", "status", "--json"))


def test_a_pod_chooses_ml_dsa_and_the_settings_demand_x25519mlkem768_of_pods_that_run(kube, meshed):
    meshed.apply(*workloads.server("web"), *workloads.caller("client", annotations={"config.tabard.dev/key": "ML_DSA_44"}),
                 workloads.policy("web", meshed.namespace, "client", to="web"))
    rolled_out_all(meshed)
    assert json.loads(meshed.exec("deployment/client", "/bin/app", "call", "http://web"))["name"] == "web"
    assert [status_of(meshed, name)["certificate_key"] for name in ("client", "web")] == ["ML-DSA-44", "ECDSA P-256"]

    def demand(value):
        kube("patch", "meshsettings", "default", "--type=merge", "-p", json.dumps({"spec": {"keyExchange": value}}))
        for name in ("client", "web"):
            wait_until(lambda name=name: (said := status_of(meshed, name))["key_exchange"] == value and
                       said["key_exchange_by"] == "policy agent", f"{name} has {value}", seconds=20)
    demand("POST_QUANTUM")
    try:
        assert json.loads(meshed.exec("deployment/client", "/bin/app", "call", "http://web"))["name"] == "web"
        wait_until(lambda: "group=X25519MLKEM768" in meshed("logs", "deployment/web", "-c", "tabard"), "web's sidecar names the group",
                   seconds=10)
    finally:
        demand("ANY")
