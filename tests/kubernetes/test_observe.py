# SPDX-License-Identifier: Apache-2.0
"""Sidecars that observe, asked what they would deny; and how a sidecar ends with its pod."""
import json
import secrets
import time
from pathlib import Path

import pytest

import by_hand
import workloads
from daemon import wait_until

pytestmark = pytest.mark.cluster

TABARDCTL = Path(__file__).resolve().parents[2] / "bazel-bin/control/ctl/tabardctl"


def without_probe(workload):
    """What is written by hand has no rewritten probes."""
    spec = workload["spec"]["template"]["spec"]
    spec["serviceAccountName"] = "default"
    spec["containers"][0].pop("readinessProbe", None)
    return workload


@pytest.fixture(scope="module")
def observing(tabard_image, kube, tmp_path_factory):
    """web observes and allows nobody; client has a sidecar that observes, too; outside has none."""
    name = f"observe-{secrets.token_hex(3)}"
    namespace, authority = kube.make_namespace(name), by_hand.Authority(tmp_path_factory.mktemp("ca"))
    server, service = workloads.server("web")[1:]
    namespace.apply(service, workloads.service("outside"))
    address = namespace.json("get", "service", "web")["spec"]["clusterIP"]
    destinations = [{"name": "web", "addresses": [address], "mode": "MTLS", "binding": "NONE",
                     "identities": [by_hand.spiffe_id(name, "web")]}]
    settings = {"interception": {}, "enforcement": "OBSERVE"}
    namespace.apply(authority.secret("web", name, {"settings": settings}), by_hand.with_sidecar(without_probe(server), "mesh-web"),
                    authority.secret("client", name, {"settings": settings, "destinations": destinations}),
                    by_hand.with_sidecar(without_probe(workloads.caller("client")[1]), "mesh-client"),
                    without_probe(workloads.server("outside")[1]))
    for what in ("web", "client", "outside"):
        namespace.rolled_out(f"deployment/{what}")
    yield namespace
    kube("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def denials(kube):
    """{(workload, who, where, why): how often}"""
    whole = json.loads(audit(kube, "--json"))
    return {(workload["name"], denial.get("peer") or denial.get("source", ""), denial["destination"], denial["reason"]): denial["count"]
            for workload in whole.get("workloads", []) for denial in workload.get("denials", [])}


def audit(kube, *flags):
    done = kube.run(TABARDCTL, "audit", "--kubernetes", "--namespace", kube.namespace, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_breaks_while_sidecars_observe_and_the_audit_names_who_would_be_denied(observing):
    name = observing.namespace
    for caller in ("client", "outside"):
        for _ in range(2):
            assert json.loads(observing.exec(f"deployment/{caller}", "/bin/app", "call", "http://web"))["name"] == "web"
    assert json.loads(observing.exec("deployment/client", "/bin/app", "call", "http://outside"))["name"] == "outside"
    whole = json.loads(audit(observing, "--json"))
    assert denials(observing) == {
        ("deployment/web", by_hand.spiffe_id(name, "client"), "8080", "policy_denied"): 2,
        ("deployment/web", f"{name}/deployment/outside", "8080", "plaintext_on_mtls"): 2,
        ("deployment/client", "", f"{name}/service/outside:80", "unlisted_destination"): 1}
    assert all(workload["sidecars"] == workload["observing"] == 1 for workload in whole["workloads"])
    text = audit(observing)
    assert f"{name}/deployment/web: 1 sidecar, 1 of which observe" in text and "plaintext_on_mtls" in text
    own = observing("exec", "deployment/web", "-c", "tabard", "--", "tabardctl", "audit")
    assert by_hand.spiffe_id(name, "client") in own and "enforcement: OBSERVE" in own
    assert observing("exec", "deployment/web", "-c", "tabard", "--", "tabardctl", "status").startswith("ready\n")


def test_a_sidecar_ends_with_its_pod_at_once_and_well(observing):
    """The application ends after its linger time, and nothing of drain_seconds is waited for."""
    pod = observing.json("get", "pods", "-l", "app=web")["items"][0]["metadata"]["name"]
    observing.exec("deployment/client", "/bin/app", "call", "http://web")
    log = observing.start(*observing.words("logs", "--follow", pod, "-c", "tabard"), stdout=-1)
    began = time.monotonic()
    observing("delete", "pod", pod)
    took = time.monotonic() - began
    assert "exit_status=0" in log.communicate(timeout=30)[0].splitlines()[-1]
    assert took < workloads.LINGER_MS / 1000 + 8, f"{took:.1f} s"


def test_a_job_ends_and_its_sidecar_with_status_0(observing):
    spec = workloads.pod_spec(workloads.container("call", "http://web", "--until"))
    made = by_hand.with_sidecar(workloads.job("once", spec), "mesh-client")
    observing.apply(made)

    def pod():
        items = observing.json("get", "pods", "-l", "job-name=once")["items"]
        return items and items[0]["status"].get("phase") == "Succeeded" and items[0]

    done = wait_until(pod, "the job's pod has succeeded", seconds=60)
    ended = {one["name"]: one["state"]["terminated"]["exitCode"] for one in done["status"]["initContainerStatuses"]}
    assert ended == {"tabard-init": 0, "tabard": 0}


def calls(kube, what, url):
    return kube.run(*kube.words("exec", what, "-c", "app", "--", "/bin/app", "call", url, "--timeout", "2000")).returncode == 0


def test_a_namespace_observes_and_one_annotation_later_it_enforces(meshed, namespace):
    """By policyd: nobody is denied, everybody who would be is listed; then they are, and a policy lets in whom it names."""
    name = meshed.namespace
    mode = lambda value: meshed("annotate", "namespace", name, f"tabard.dev/mode={value}", "--overwrite")  # noqa: E731
    mode("observe")
    meshed.apply(*workloads.server("web"), *workloads.caller("client"))
    namespace.apply(*workloads.caller("outside"))
    for kube, what in ((meshed, "web"), (meshed, "client"), (namespace, "outside")):
        kube.rolled_out(f"deployment/{what}")
    callers = (meshed, "deployment/client", "http://web"), (namespace, "deployment/outside", f"http://web.{name}")
    for kube, what, url in callers:
        assert json.loads(kube.exec(what, "/bin/app", "call", url))["name"] == "web"
    found = denials(meshed)
    peer = f"spiffe://cluster.local/ns/{name}/sa/client"
    assert {who for workload, who, where, why in found if workload == "deployment/web" and why == "policy_denied"} == {peer}, found
    assert {who for workload, who, where, why in found if why == "plaintext_on_mtls"} == {f"{namespace.namespace}/deployment/outside"}, found
    mode("enforce")
    for caller in callers:
        wait_until(lambda: not calls(*caller), f"{caller} is denied", seconds=30, every=0.5)
    meshed.apply(workloads.policy("web", name, "client", to="web"))
    wait_until(lambda: calls(*callers[0]), "the policy lets the client in", seconds=30, every=0.5)
    assert not calls(*callers[1])
