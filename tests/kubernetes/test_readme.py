# SPDX-License-Identifier: Apache-2.0
"""README's commands for Kubernetes, as the demo reads them. `./dev demo kubernetes` runs them."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kube import ExistingCluster, Refused, chosen_cluster

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/demo"), str(ROOT / "tests/e2e")]

import kubernetes as demo  # noqa: E402


def test_five_commands_lead_from_nothing_to_a_denied_request():
    commands = list(demo.commands_of_readme())
    assert len(commands) == 5
    assert [comment.startswith("denied") for _, comment in commands] == [False] * 4 + [True]
    assert all(command.startswith("kubectl ") for command, _ in commands)


def test_nothing_is_installed_in_the_cluster_of_a_kubeconfig_before_its_owner_has_said_yes():
    done = subprocess.run([sys.executable, "-B", ROOT / "tests/demo/kubernetes.py"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env=os.environ | {"KUBECONFIG": "/nonexistent"})
    assert done.returncode == 1
    assert "May Tabard, its CRDs and its webhook be installed in that cluster?" in done.stderr and "--yes" in done.stderr


def test_an_owner_who_says_no_is_heard(monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer in ("", "n", "nope"):
        with pytest.raises(Refused):
            chosen_cluster(ask=lambda question: answer)
    assert isinstance(chosen_cluster(ask=lambda question: "y"), ExistingCluster)
    assert isinstance(chosen_cluster(yes=True), ExistingCluster)


def test_the_files_that_they_name_are_there_and_the_policy_that_is_shown_is_theirs():
    text = (ROOT / "README.md").read_text()
    for command, _ in demo.commands_of_readme(text):
        for file in re.findall(r"-f (\S+)", command):
            assert (ROOT / file).is_file(), file
    shown = re.search(r"^```yaml\n(apiVersion: tabard.dev.*?)^```", text, re.S | re.M)[1]
    assert shown in (ROOT / "tests/demo/shop.yaml").read_text()
