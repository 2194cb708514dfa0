# SPDX-License-Identifier: Apache-2.0
"""Installing, looking, upgrading and uninstalling, as a user would."""
import json

import pytest

import chart
import install

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
    assert done.stdout.startswith("× the API server does not answer: ")


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
