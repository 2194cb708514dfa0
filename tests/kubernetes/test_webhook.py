# SPDX-License-Identifier: Apache-2.0
"""The webhook, asked by a real API server: which pods it is asked about, its roots, and what becomes of pods without it."""
import base64
import json
import subprocess
import time

import pytest

import install
import workloads
from creations import Creations
from daemon import Failed, wait_until

pytestmark = pytest.mark.cluster
CONFIGURATION = ("mutatingwebhookconfiguration", "tabard")


def dry_run(kube, name="a", **more):
    """The pod that would come about."""
    spec = workloads.pod_spec(workloads.container("serve"), securityContext={"seccompProfile": {"type": "RuntimeDefault"}})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **more}, "spec": spec}
    return kube.json_of(pod, "create", "--dry-run=server", "-f", "-")


def is_injected(pod):
    return [one["name"] for one in pod["spec"].get("initContainers", [])] == ["tabard-init", "tabard"]


def injects(kube):
    """Whether a pod can be made and gets its sidecar: kube-proxy may not lead to the webhook yet."""
    try:
        return is_injected(dry_run(kube))
    except Failed:
        return False


def has_account(kube):
    """The controller has made the namespace's service account, without which no pod is taken."""
    wait_until(lambda: kube("get", "serviceaccount", "default", check=False), "the namespace has its service account")
    return kube


def roots_in(kube):
    return base64.b64decode(kube.json("get", *CONFIGURATION)["webhooks"][0]["clientConfig"].get("caBundle", "")).decode()


def roots_of(mesh):
    return base64.b64decode(mesh.json("get", "secret", "tabard-ca")["data"]["roots.pem"]).decode()


def put_roots(mesh, text):
    patch = {"data": {"roots.pem": base64.b64encode(text.encode()).decode()}}
    mesh("patch", "secret", "tabard-ca", "--type=merge", "-p", json.dumps(patch))


def test_only_pods_of_labelled_namespaces_that_did_not_opt_out_are_injected(kube, mesh, meshed, namespace):
    assert is_injected(dry_run(has_account(meshed)))
    assert not is_injected(dry_run(meshed, labels={"tabard.dev/inject": "disabled"}))
    for other in (has_account(namespace), kube.within("kube-system"), mesh):
        assert not is_injected(dry_run(other))


def test_in_a_namespace_whose_label_is_misspelled_no_pod_starts_outside_the_mesh(kube, mesh, namespace):
    has_account(namespace)
    for value in ("enable", "true", ""):
        kube("label", "namespace", namespace.namespace, f"tabard.dev/inject={value}", "--overwrite")

        def why():
            try:
                return str(dry_run(namespace)) and None
            except Failed as failed:
                return str(failed)

        said = wait_until(why, "the pod is refused", seconds=20)
        assert 'label tabard.dev/inject of the namespace is neither "enabled" nor "disabled"' in said
        assert not is_injected(dry_run(namespace, labels={"tabard.dev/inject": "disabled"}))
    kube("label", "namespace", namespace.namespace, "tabard.dev/inject=disabled", "--overwrite")
    wait_until(lambda: why() is None, "the pod is taken", seconds=20)


def test_a_label_on_our_own_namespace_or_kube_system_brings_no_sidecar(kube, mesh):
    for other in (kube.within("kube-system"), mesh):
        kube("label", "namespace", other.namespace, "tabard.dev/inject=enabled")
        try:
            assert not is_injected(dry_run(other))
        finally:
            kube("label", "namespace", other.namespace, "tabard.dev/inject-")


def test_the_roots_of_the_api_server_are_those_in_force_also_after_somebody_took_them_out(kube, mesh, meshed):
    wait_until(lambda: roots_in(kube) == roots_of(mesh), "the roots are in place", seconds=20)
    kube("patch", *CONFIGURATION, "--type=json", "-p", '[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]')
    wait_until(lambda: roots_in(kube) == roots_of(mesh), "the roots are in place again", seconds=20)
    assert is_injected(dry_run(has_account(meshed)))


def test_a_second_root_is_known_to_the_api_server_as_long_as_it_counts(kube, mesh, meshed, tmp_path):
    before = roots_of(mesh)
    domain = kube.json("get", "meshsettings", "default")["spec"]["trustDomain"]
    subprocess.run([install.ROOT / "bazel-bin/certs/ca/tabard-ca", "init", "--dir", tmp_path / "ca", "--trust-domain", domain], check=True)
    both = before + (tmp_path / "ca" / "ca.pem").read_text()
    try:
        put_roots(mesh, both)
        wait_until(lambda: roots_in(kube) == both, "both roots are in place", seconds=20)
        assert is_injected(dry_run(has_account(meshed)))
    finally:
        put_roots(mesh, before)
    wait_until(lambda: roots_in(kube) == before, "the first root alone is in place", seconds=20)


def test_without_policyd_no_pod_is_made_where_it_would_be_injected_and_every_other_is(kube, mesh, meshed, namespace):
    has_account(meshed)
    mesh("scale", "deployment/tabard-policyd", "--replicas=0")
    try:
        wait_until(lambda: not mesh.json("get", "pods")["items"], "policyd is gone", every=0.3)
        with pytest.raises(Failed, match='failed calling webhook "inject.tabard.dev"'):
            dry_run(meshed)
        for other in (has_account(namespace), kube.within("kube-system"), mesh):
            assert not is_injected(dry_run(other))
    finally:
        mesh("scale", "deployment/tabard-policyd", "--replicas=2")
        mesh.rolled_out("deployment/tabard-policyd")
    wait_until(lambda: injects(meshed), "pods are injected again", seconds=20)


def test_while_policyd_is_rolled_out_anew_every_pod_is_made_and_injected(own_cluster, mesh, meshed):
    wait_until(lambda: injects(has_account(meshed)), "pods are injected", seconds=20)
    creations = Creations(own_cluster, meshed.namespace, 20)
    mesh("rollout", "restart", "deployment/tabard-policyd")
    mesh.rolled_out("deployment/tabard-policyd")
    time.sleep(6)  # the old ones answer for so long
    creations.end()
    assert creations.failures == [] and creations.bare == 0 and len(creations.times) > 100, creations.failures[:5]
