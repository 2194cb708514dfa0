# SPDX-License-Identifier: Apache-2.0
"""Services and policies of every kind, and what pods of the mesh reach by them."""
import json

import pytest

import workloads
from daemon import wait_until
from workloads import container, pod_spec

pytestmark = pytest.mark.cluster


def is_answered(kube, url, who="deployment/client"):
    return kube.run(*kube.words("exec", who, "-c", "app", "--", "/bin/app", "call", url)).returncode == 0


def rolled_out_all(kube):
    for one in kube.json("get", "deployments")["items"]:
        kube.rolled_out(f"deployment/{one['metadata']['name']}")


def serve(name, *, replicas=1, account="web", labels=None, **more):
    spec = pod_spec(container("serve", "--name", name, ports=[{"containerPort": 8080, "name": "web"}]), account=account)
    return workloads.deployment(name, spec, replicas=replicas, labels=labels, **more)


def answer_of(kube, url):
    return json.loads(kube.exec("deployment/client", "/bin/app", "call", url))["name"]


def test_a_port_is_named_and_the_service_has_two(meshed):
    service = workloads.service("web")
    service["spec"]["ports"] = [{"name": "a", "port": 80, "targetPort": "web"}, {"name": "b", "port": 8081, "targetPort": 8080}]
    meshed.apply(workloads.account("web"), serve("web"), service, *workloads.caller("client"),
                 workloads.policy("web", meshed.namespace, "client", to="web"))
    rolled_out_all(meshed)
    assert answer_of(meshed, "http://web") == "web"
    assert answer_of(meshed, "http://web:8081") == "web"


def test_a_service_without_endpoints_refuses_until_it_has_one(meshed):
    meshed.apply(workloads.account("web"), workloads.service("web"), *workloads.caller("client"),
                 workloads.policy("web", meshed.namespace, "client", to="web"))
    rolled_out_all(meshed)
    assert not is_answered(meshed, "http://web")
    meshed.apply(serve("web"))
    rolled_out_all(meshed)
    assert answer_of(meshed, "http://web") == "web"


def test_a_policy_by_labels_counts_for_those_pods_of_an_account_that_have_them(meshed):
    name = meshed.namespace
    policy = workloads.policy("blue", name, "client")
    policy["spec"]["selector"] = {"matchLabels": {"colour": "blue"}}
    meshed.apply(workloads.account("web"), serve("blue", labels={"colour": "blue"}), serve("green", labels={"colour": "green"}),
                 workloads.service("blue"), workloads.service("green"), *workloads.caller("client"), policy)
    rolled_out_all(meshed)
    assert answer_of(meshed, "http://blue") == "blue"
    assert not is_answered(meshed, "http://green")


def test_a_policy_lets_nobody_into_another_namespace_that_has_one_of_its_name(meshed, kube, request):
    other = kube.make_namespace(f"{meshed.namespace[:50]}-2", **{"tabard.dev/inject": "enabled"})
    request.addfinalizer(lambda: kube("delete", "namespace", other.namespace, "--wait=false"))
    for one in (meshed, other):
        one.apply(*workloads.server("web"))
    meshed.apply(*workloads.caller("client"), workloads.policy("web", meshed.namespace, "client"))
    other.apply(workloads.policy("web", other.namespace, "client"))
    rolled_out_all(meshed)
    rolled_out_all(other)
    assert answer_of(meshed, "http://web") == "web"
    assert not is_answered(meshed, f"http://web.{other.namespace}")


def test_what_is_outside_the_mesh_is_reached_by_a_mesh_destination_alone(meshed, namespace):
    namespace.apply(*workloads.server("old"))
    meshed.apply(*workloads.caller("client"))
    rolled_out_all(namespace)
    rolled_out_all(meshed)
    url = f"http://old.{namespace.namespace}"
    assert not is_answered(meshed, url)
    meshed.apply({"apiVersion": "tabard.dev/v1alpha1", "kind": "MeshDestination", "metadata": {"name": "old"}, "spec": {
        "mode": "PLAINTEXT", "services": [{"namespace": namespace.namespace, "name": "old"}]}})
    assert answer_of(meshed, url) == "old"


def refusals(kube, name):
    """Why a MeshPolicy is not accepted: a list of one text, or of none."""
    conditions = kube.json("get", "meshpolicy", name).get("status", {}).get("conditions", [])
    return [one["message"] for one in conditions if one["type"] == "Accepted" and one["status"] == "False"]


def test_a_policy_that_the_schema_lets_pass_and_the_mesh_refuses_says_so_and_the_last_good_one_holds(meshed):
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), *workloads.caller("stranger"),
                 workloads.policy("web", meshed.namespace, "client"))
    rolled_out_all(meshed)
    assert answer_of(meshed, "http://web") == "web"
    assert not is_answered(meshed, "http://web", "deployment/stranger")
    bad = {"spec": {"rules": [{"from": [{"namespace": meshed.namespace, "serviceAccount": "stranger"}]}, {"sourceIps": ["10.1.2.3/8"]}]}}
    meshed("patch", "meshpolicy", "web", "--type=merge", "-p", json.dumps(bad))

    message = wait_until(lambda: refusals(meshed, "web"), "the condition Accepted is False", seconds=30)[0]
    assert "10.1.2.3/8" in message
    assert answer_of(meshed, "http://web") == "web"
    assert not is_answered(meshed, "http://web", "deployment/stranger")


def test_what_a_policy_denied_stays_denied_when_it_is_spoiled_and_policyd_starts_anew(meshed, mesh):
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), workloads.policy("web", meshed.namespace, "client"))
    rolled_out_all(meshed)
    assert answer_of(meshed, "http://web") == "web"
    meshed.apply(workloads.policy("not-you", meshed.namespace, "client", action="DENY"))
    wait_until(lambda: not is_answered(meshed, "http://web"), "the call is denied", seconds=30)
    bad = {"spec": {"rules": [{"sourceIps": ["10.1.2.3/8"]}]}}
    meshed("patch", "meshpolicy", "not-you", "--type=merge", "-p", json.dumps(bad))
    mesh("rollout", "restart", "deployment/tabard-policyd")
    mesh.rolled_out("deployment/tabard-policyd")
    said = wait_until(lambda: [text for text in refusals(meshed, "not-you") if "denies all" in text], "its status says so", seconds=30)
    assert "spec.rules[0].sourceIps[0]: " in said[0]
    assert not is_answered(meshed, "http://web")
    meshed("delete", "meshpolicy", "not-you")
    wait_until(lambda: is_answered(meshed, "http://web"), "the call is answered again", seconds=30)


def restarts(kube):
    return {pod["metadata"]["name"]: one["restartCount"] for pod in kube.json("get", "pods")["items"] for one in pod["status"]["containerStatuses"]}


def test_a_namespace_that_is_deleted_under_load_leaves_the_others_alone(meshed, kube, mesh):
    doomed = kube.make_namespace(f"{meshed.namespace[:50]}-2", **{"tabard.dev/inject": "enabled"})
    for one in (meshed, doomed):
        one.apply(*workloads.server("web"), *workloads.caller("client"), workloads.policy("web", one.namespace, "client"))
    rolled_out_all(meshed)
    rolled_out_all(doomed)
    assert answer_of(doomed, "http://web") == "web"
    assert answer_of(meshed, "http://web") == "web"
    before = restarts(mesh)
    load = meshed.start(*meshed.words("exec", "deployment/client", "-c", "app", "--", "/bin/app", "load", "http://web", "--seconds", "15"),
                        stdout=-1)
    kube("delete", "namespace", doomed.namespace, "--wait=true", timeout=120)
    said = json.loads(load.communicate(timeout=60)[0].splitlines()[-1])
    assert said["failed"] == 0, said
    assert restarts(mesh) == before
