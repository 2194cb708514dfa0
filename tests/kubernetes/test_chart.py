# SPDX-License-Identifier: Apache-2.0
"""Installing, looking, upgrading and uninstalling, as a user would."""
import json
import re

import pytest

import chart
import install
import workloads

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def tool(cluster, kube):
    """The chart, not installed, and its image in the cluster."""
    helm, why = chart.helm_path()
    if why:
        pytest.skip(why)
    if kube("get", "namespace", install.SYSTEM, "--ignore-not-found"):
        pytest.skip(f"the cluster has a namespace {install.SYSTEM} already")
    install.load_image(cluster, chart.IMAGE)
    return chart.Chart(kube, helm)


@pytest.fixture(scope="module")
def installed(tool):
    """The mesh, serving, with a trust domain of its own."""
    tool.up(trustDomain="prod.example", mode="observe")
    try:
        tool.wait()
        yield tool
    finally:
        tool.down()


def test_before_an_install_the_check_says_whether_one_can_be_made(tool, kube):
    status, lines = chart.check(kube)
    assert status == 0
    assert [line[0] for line in lines[:3]] == ["√"] * 3, lines
    assert lines[3:] == [f"Tabard is not in the namespace {install.SYSTEM}: this is what was looked at before an install.",
                         "3 good, 0 to look at, 0 wrong"]


def test_who_may_not_install_is_told_which_rights_are_missing(tool, kube, tmp_path):
    config = json.loads(kube("config", "view", "--raw", "--flatten", "-o", "json"))
    config["users"][0]["user"]["as"] = "jane"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    done = kube.run("env", f"KUBECONFIG={tmp_path}/kubeconfig", chart.CTL, "check", "--kubernetes")
    assert done.returncode == 1
    assert '× the Deployment of policyd can\'t be read: Error from server (Forbidden)' in done.stdout
    assert 'User "jane" cannot get resource "deployments"' in done.stdout


def test_an_api_server_that_is_not_there_is_said_to_be_so(tool, kube):
    done = kube.run("env", "KUBECONFIG=/nowhere", chart.CTL, "check", "--kubernetes")
    assert done.returncode == 1
    assert done.stdout.startswith("× no API server can be asked: ")


def test_after_an_install_with_helm_policyd_serves_and_the_settings_are_those_of_the_chart(installed, kube):
    settings = kube.json("get", "meshsettings", "default")["spec"]
    assert settings == {"trustDomain": "prod.example", "mode": "observe", "unlistedOutbound": "DENY", "keyExchange": "ANY", "certificateSeconds": 3600}
    pods = installed.namespace.json("get", "pods")["items"]
    assert len(pods) == 2
    assert all(status["ready"] for pod in pods for status in pod["status"]["containerStatuses"])
    # Pod Security at its strictest finds no fault in them.
    said = kube.run("kubectl", "label", "--dry-run=server", "--overwrite", "namespace", install.SYSTEM,
                    "pod-security.kubernetes.io/enforce=restricted")
    assert "would violate" not in said.stderr and "existing pods" not in said.stderr, said.stderr


def test_the_check_finds_a_sound_mesh_sound(installed, kube, namespace):
    kube("label", "namespace", namespace.namespace, "tabard.dev/inject=enabled")
    status, lines = chart.check(kube)
    told = "\n".join(lines)
    assert status == 0, told
    assert "√ 2 of 2 policyd serve" in told
    assert "√ the definitions of MeshPolicy, MeshDestination and MeshSettings are those of this version" in told
    assert "! the mesh of trust domain prod.example observes" in told
    assert re.search(r"√ the webhook answers: a pod made in each of \d+ namespaces gets a sidecar \(tried, not kept\)", told), told
    assert re.search(r"√ \d+ pods have a sidecar that is ready and of version .*; \d+ stand outside on purpose", told), told


def test_the_check_says_why_a_policy_is_not_accepted(installed, kube, namespace):
    spec = {"action": "ALLOW", "rules": [{"sourceIps": ["10.1.2.3/8"]}]}  # the API server can't see the bits behind the prefix
    namespace.apply({"apiVersion": "tabard.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": "wide"}, "spec": spec})
    namespace("wait", "--for=condition=Accepted=false", "meshpolicy/wide", "--timeout=30s")
    status, lines = chart.check(kube)
    assert status == 1
    assert any(line.startswith(f"× MeshPolicy {namespace.namespace}/wide is not accepted: ") and "host bits set" in line
               for line in lines), lines
    namespace("delete", "meshpolicy", "wide")  # a namespace ends slowly, and the next check would see it


def test_the_check_names_pods_that_did_not_start_anew_since_the_label(installed, kube, namespace):
    namespace.apply(*workloads.server("web"))
    namespace.rolled_out("deployment/web")
    kube("label", "namespace", namespace.namespace, "tabard.dev/inject=enabled")
    pod = namespace("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    status, lines = chart.check(kube)
    assert status == 0, "\n".join(lines)
    assert any(line.startswith("! 1 pods of the mesh's namespaces have no sidecar: ") and f"{namespace.namespace}/{pod};" in line
               for line in lines), lines
    namespace("rollout", "restart", "deployment/web")
    namespace.rolled_out("deployment/web")
    status, lines = chart.check(kube)
    assert status == 0, "\n".join(lines)
    assert any(re.match(r"√ [1-9]\d* pods have a sidecar that is ready", line) for line in lines), lines


def test_the_check_names_a_namespace_whose_pod_security_refuses_the_init_container(installed, kube, namespace):
    kube("label", "namespace", namespace.namespace, "tabard.dev/inject=enabled", "pod-security.kubernetes.io/enforce=baseline")
    status, lines = chart.check(kube)
    told = "\n".join(lines)
    assert status == 1
    assert f"× no pod can be made in {namespace.namespace}: " in told
    assert 'violates PodSecurity "baseline:latest": non-default capabilities (container "tabard-init"' in told


def test_the_check_sees_that_policyd_is_gone(installed, kube, namespace):
    kube("label", "namespace", namespace.namespace, "tabard.dev/inject=enabled")
    installed.namespace("scale", "deployment/tabard-policyd", "--replicas=0")
    installed.namespace("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=policyd", "--timeout=60s")
    try:
        status, lines = chart.check(kube)
    finally:
        installed.namespace("scale", "deployment/tabard-policyd", "--replicas=2")
        installed.wait()
    told = "\n".join(lines)
    assert status == 1
    assert "× policyd has no replicas: " in told
    assert f"× no pod can be made in {namespace.namespace}: " in told and "failed calling webhook" in told


def test_the_check_names_sidecars_that_are_behind_after_an_upgrade_until_they_start_anew(installed, cluster, kube, namespace):
    kube("label", "namespace", namespace.namespace, "tabard.dev/inject=enabled")
    namespace.apply(*workloads.server("web"))
    namespace.rolled_out("deployment/web")
    pod = namespace("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")
    assert not [line for line in chart.check(kube)[1] if "sidecars are not of" in line]
    image = install.load_image(cluster, f"{chart.IMAGE}-2")
    installed.up(image=image)
    installed.wait()
    status, lines = chart.check(kube)
    assert status == 0, "\n".join(lines)
    assert any(re.fullmatch(rf"! 1 sidecars are not of policyd's version \S+ and image {image}: {namespace.namespace}/{pod}; "
                            "kubectl rollout restart their controllers", line) for line in lines), lines
    namespace("rollout", "restart", "deployment/web")
    namespace.rolled_out("deployment/web")
    status, lines = chart.check(kube)
    assert status == 0 and not [line for line in lines if "sidecars are not of" in line], lines


def test_an_upgrade_rolls_policyd_out_and_leaves_settings_and_ca_alone(installed, kube):
    before = [kube("get", *words) for words in ca_and_settings()]
    generation = installed.namespace.json("get", "deployment", "tabard-policyd")["metadata"]["generation"]
    installed.up(trustDomain="other.example", mode="enforce", sidecar={"workers": 1})
    installed.wait()
    assert installed.namespace.json("get", "deployment", "tabard-policyd")["metadata"]["generation"] > generation
    assert [kube("get", *words) for words in ca_and_settings()] == before


def ca_and_settings():
    return [("meshsettings", "default", "-o", "jsonpath={.spec}"),
            ("secret", "-n", install.SYSTEM, "tabard-ca", "-o", "jsonpath={.data}")]


def test_policyd_cannot_read_the_roots_key(installed, kube):
    account = f"--as=system:serviceaccount:{install.SYSTEM}:tabard-policyd"
    may = lambda verb, what: kube("auth", "can-i", verb, what, "-n", install.SYSTEM, account, check=False).strip()
    assert [may("list", "secret/tabard-ca"), may("list", "secret/tabard-root"), may("get", "secret/tabard-root"), may("list", "secrets"),
            may("list", "configmaps"), may("delete", "pods")] == ["yes", "no", "no", "no", "no", "no"]


def test_helm_leaves_nothing(tool, kube):
    before = chart.inventory(kube)
    tool.up()
    tool.down()
    assert chart.settled(kube, before) == set()


def test_install_yaml_needs_one_apply_and_leaves_nothing(tool, kube):
    before = chart.inventory(kube)
    file = install.ROOT / "deploy/install.yaml"
    kube("apply", "-f", file)
    try:
        assert "unchanged" in kube("apply", "-f", file)
    finally:
        kube("delete", "-f", file, "--timeout=90s")
    assert chart.settled(kube, before) == set()
