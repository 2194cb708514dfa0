# SPDX-License-Identifier: Apache-2.0
"""The chart as Helm renders it: valid, documented, with no more rights than policyd uses; install.yaml is made of it."""
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/chart"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.fixture(scope="session")
def helm():
    found = subprocess.run([ROOT / "deploy/helm.sh"], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip(found.stderr.strip().removeprefix("helm.sh: "))

    def run(*words, check=True):
        done = subprocess.run([found.stdout.strip(), *map(str, words)], capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stderr
    return run


@pytest.fixture(scope="session")
def render(helm, tmp_path_factory):
    """Objects by kind and name, for values given as a dictionary; as text where it fails."""
    def rendered(namespace="tabard-system", check=True, **values):
        file = tmp_path_factory.mktemp("values") / "values.yaml"
        file.write_text(json.dumps(values))
        said = helm("template", "tabard", CHART, "--namespace", namespace, "--values", file, check=check)
        if not check:
            return said
        return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(said) if one}
    return rendered


def test_helm_finds_no_fault(helm):
    helm("lint", "--strict", CHART)


def test_install_yaml_is_the_chart(helm):
    made = subprocess.check_output([ROOT / "deploy/render.sh"], text=True)
    assert made == (ROOT / "deploy/install.yaml").read_text(), "run deploy/render.sh > deploy/install.yaml"


def test_its_version_is_tabards():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search('TABARD_VERSION "(.*)"', (ROOT / "base/version.h").read_text()).group(1)
    assert (chart["version"], str(chart["appVersion"])) == (version, version)


def leaves(values, schema, path=""):
    """Every value and its schema; a map that is meant to be filled in as one is one value."""
    for name, value in values.items():
        inner = schema["properties"][name]
        if inner.get("properties") and name != "resources":
            yield from leaves(value, inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", inner


def test_every_value_is_documented_and_has_a_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = [path for path, _ in leaves(VALUES, schema)]
    text = (CHART / "values.yaml").read_text()
    for path in known:
        name = path.split(".")[-1]
        assert re.search(rf"# -- .*\n( *# .*\n)* *{name}:", text), path
    assert len(known) == len(re.findall("# -- ", text))

    def closed(part, where):
        if "properties" in part:
            assert part["additionalProperties"] is False, where
            for name, inner in part["properties"].items():
                closed(inner, f"{where}.{name}")
    closed(schema, "values")


@pytest.mark.parametrize("values, said", [
    ({"trustDomain": "spiffe://x"}, "/trustDomain"),
    ({"certificateSeconds": 59}, "/certificateSeconds"),
    ({"certificateSeconds": 86401}, "/certificateSeconds"),
    ({"certificateSeconds": "1h"}, "/certificateSeconds"),
    ({"mode": "ENFORCE"}, "/mode"),
    ({"keyExchange": "post_quantum"}, "/keyExchange"),
    ({"sidecar": {"key": "ml-dsa-44"}}, "/sidecar/key"),
    ({"trustdomain": "x"}, "trustdomain"),
    ({"policyd": {"replicas": 0}}, "/policyd/replicas"),
    ({"policyd": {"replica": 3}}, "replica"),
    ({"policyd": {"priorityClassName": "x\n      hostNetwork: true"}}, "/policyd/priorityClassName"),
    ({"image": {"digest": "sha256:x"}}, "/image/digest"),
    ({"webhook": {"timeoutSeconds": 31}}, "/webhook/timeoutSeconds"),
    ({"webhook": {"clientCA": "/etc/ca.pem"}}, "/webhook/clientCA"),
    ({"sidecar": {"resources": {"limits": {"storage": "1Gi"}}}}, "storage"),
    ({"networkPolicy": {"apiServerPorts": [70000]}}, "/networkPolicy/apiServerPorts/0"),
])
def test_a_wrong_value_is_refused_by_name(render, values, said):
    assert said in render(check=False, **values)


def test_the_rights_are_these_and_no_more(render):
    objects = render()
    rights = {(kind, group, resource, *rule.get("resourceNames", [])): " ".join(rule["verbs"])
              for kind in ["ClusterRole", "Role"] for rule in objects[kind, "tabard-policyd"]["rules"]
              for group in rule["apiGroups"] for resource in rule["resources"]}
    watched = "list watch"
    assert rights == {
        ("ClusterRole", "", "pods"): watched, ("ClusterRole", "", "services"): watched, ("ClusterRole", "", "namespaces"): watched,
        ("ClusterRole", "discovery.k8s.io", "endpointslices"): watched,
        ("ClusterRole", "tabard.dev", "meshpolicies"): watched, ("ClusterRole", "tabard.dev", "meshdestinations"): watched,
        ("ClusterRole", "tabard.dev", "meshsettings"): "create",  # beside the rule that lets it watch them
        ("ClusterRole", "tabard.dev", "meshpolicies/status"): "patch",
        ("ClusterRole", "tabard.dev", "meshdestinations/status"): "patch",
        ("ClusterRole", "tabard.dev", "meshsettings/status"): "patch",
        ("ClusterRole", "", "events"): "create", ("ClusterRole", "authentication.k8s.io", "tokenreviews"): "create",
        ("ClusterRole", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "tabard"): "list watch patch",
        ("Role", "", "secrets"): "create", ("Role", "", "secrets", "tabard-ca"): "list watch patch"}


def test_the_webhook_never_stands_in_its_own_way(render):
    webhooks = render(namespace="mesh", webhook={"excludedNamespaces": ["infra"]})["MutatingWebhookConfiguration", "tabard"]["webhooks"]
    labels = {"inject": [{"operator": "In", "values": ["enabled"]}],
              "unclear": [{"operator": "Exists"}, {"operator": "NotIn", "values": ["enabled", "disabled"]}]}
    assert [webhook["name"] for webhook in webhooks] == [f"{name}.tabard.dev" for name in labels]
    for (name, wanted), webhook in zip(labels.items(), webhooks):
        assert webhook["failurePolicy"] == "Fail"
        assert webhook["namespaceSelector"] == {"matchExpressions": [
            *({"key": "tabard.dev/inject", **one} for one in wanted),
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "mesh", "infra"]}]}
        assert webhook["objectSelector"]["matchExpressions"] == [
            {"key": "tabard.dev/inject", "operator": "NotIn", "values": ["disabled"]}]
        assert webhook["clientConfig"] == {"service": {"name": "tabard-policyd", "namespace": "mesh", "path": f"/{name}", "port": 443}}


def test_nothing_of_the_chart_is_a_namespace_and_all_of_it_is_labelled(render):
    for (kind, name), one in render(namespace="mesh").items():
        assert kind != "Namespace"
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "tabard", (kind, name)
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "tabard", (kind, name)
        assert one["metadata"].get("namespace", "mesh") == "mesh", (kind, name)


def test_the_configuration_of_the_webhook_follows_the_values(render):
    data = render(namespace="mesh", image={"digest": "sha256:" + "a" * 64},
                  keyExchange="POST_QUANTUM",
                  sidecar={"resources": {"limits": {"cpu": 2}}, "logLevel": "debug", "key": "ML_DSA_44"})["ConfigMap", "tabard-policyd"]["data"]
    assert yaml.safe_load(data["inject.yaml"]) == {
        "image": "localhost/tabard@sha256:" + "a" * 64, "image_pull_policy": "IfNotPresent",
        "policy_agent": "tabard-policyd.mesh.svc:15012", "log_level": "debug", "workers": 2, "key": "ML_DSA_44",
        "cpu_request": "10m", "cpu_limit": "2", "memory_request": "32Mi", "memory_limit": "256Mi"}
    assert json.loads(data["settings.json"]) == {"trustDomain": "cluster.local", "mode": "enforce", "unlistedOutbound": "DENY",
                                                 "keyExchange": "POST_QUANTUM", "certificateSeconds": 3600}


def test_the_webhook_demands_certificates_of_the_roots_that_it_is_given(render):
    def found(objects):
        container = objects["Deployment", "tabard-policyd"]["spec"]["template"]["spec"]["containers"][0]
        flags = [word.partition("=")[2] for word in container["args"] if word.startswith("--webhook-client-ca")]
        return flags, objects["ConfigMap", "tabard-policyd"]["data"].get("webhook-client-ca.pem")
    roots = "# {{ x }} \"\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    assert found(render(webhook={"clientCA": roots})) == (["/etc/tabard/webhook-client-ca.pem"], roots)
    assert found(render()) == ([], None)


def test_what_can_be_left_out_is_left_out(render):
    without = render(crds={"install": False}, networkPolicy={"enabled": False}, podDisruptionBudget={"enabled": False})
    assert {kind for kind, _ in without} == {"ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "Role", "RoleBinding",
                                             "MutatingWebhookConfiguration", "Service", "ServiceAccount"}
    alone = render(policyd={"replicas": 1}, podMonitor={"enabled": True, "labels": {"release": "x"}}, crds={"keep": True})
    assert ("PodDisruptionBudget", "tabard-policyd") not in alone
    assert alone["PodMonitor", "tabard"]["metadata"]["labels"]["release"] == "x"
    kept = [one["metadata"]["annotations"]["helm.sh/resource-policy"] for (kind, _), one in alone.items()
            if kind == "CustomResourceDefinition"]
    assert kept == ["keep"] * 3


def test_policyd_takes_every_setting_of_its_pods(render):
    spec = {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}}
    pod = render(policyd={**spec, "podLabels": {"x": "y"}, "podAnnotations": {"z": "w"}, "priorityClassName": ""},
                 imagePullSecrets=[{"name": "s"}])["Deployment", "tabard-policyd"]["spec"]["template"]
    assert {name: pod["spec"][name] for name in spec} == spec
    assert pod["metadata"]["labels"]["x"] == "y" and pod["metadata"]["annotations"]["z"] == "w"
    assert "priorityClassName" not in pod["spec"] and pod["spec"]["imagePullSecrets"] == [{"name": "s"}]


def test_a_changed_configuration_rolls_policyd_out_anew(render):
    sums = {render(**values)["Deployment", "tabard-policyd"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for values in [{}, {"sidecar": {"workers": 3}}, {"policyd": {"replicas": 3}}]}
    assert len(sums) == 2
