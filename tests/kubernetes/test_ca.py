# SPDX-License-Identifier: Apache-2.0
"""The CA in its Secret: what docs/kubernetes.md says to do about it is done here as it is written."""
import base64
import re

import pytest

import workloads
from daemon import wait_until
from install import ROOT, SYSTEM
from load import Load

pytestmark = pytest.mark.cluster


def commands(heading):
    """The blocks of commands below a heading of the document."""
    section = (ROOT / "docs/kubernetes.md").read_text().split(f"\n### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(r"^```\n(.*?)^```", section, re.S | re.M)


def run(kube, script, folder, **variables):
    """Runs commands as a user would, in a folder, with tabard-ca at hand."""
    path = f"export PATH={ROOT}/bazel-bin/certs/ca:$PATH\n"
    given = "".join(f"{name}={value}\n" for name, value in variables.items())
    done = kube.run("bash", "-euo", "pipefail", "-c", path + given + script, timeout=120, cwd=folder)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"


def secret(kube, key, name="tabard-ca"):
    return base64.b64decode(kube.within(SYSTEM).json("get", "secret", name)["data"].get(key, "")).decode()


def serial_of(meshed, app):
    """The serial number of the certificate that the sidecar of a pod has in force."""
    said = meshed("exec", f"deployment/{app}", "-c", "tabard", "--", "/usr/bin/tabardctl", "status", check=False)
    found = re.search(r"^certificate: .* serial (\w+)$", said, re.M)
    return found[1] if found else ""


def in_mesh(meshed):
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), workloads.policy("web", meshed.namespace, "client", to="web"))
    meshed.rolled_out("deployment/web")
    meshed.rolled_out("deployment/client")


def test_a_pod_whose_certificate_was_revoked_reaches_nobody_until_it_is_replaced(meshed, kube, tmp_path):
    in_mesh(meshed)
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    serial = serial_of(meshed, "client")
    assert serial
    [revoke] = commands("Revoke the certificate of a pod")
    run(kube, revoke, tmp_path, SERIAL=serial)
    wait_until(lambda: serial in secret(kube, "revoked"), "one of the replicas has revoked it")
    assert "BEGIN X509 CRL" in secret(kube, "crl.pem")
    call = meshed.words("exec", "deployment/client", "-c", "app", "--", "/bin/app", "call", "http://web")
    wait_until(lambda: meshed.run(*call).returncode != 0, "the client is refused")
    assert "revoked" in meshed("logs", "deployment/web", "-c", "tabard")
    meshed("rollout", "restart", "deployment/client")
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")


def test_a_secret_that_somebody_deletes_is_put_back_as_it_was(meshed, kube):
    in_mesh(meshed)
    before = secret(kube, "ca.pem"), secret(kube, "ca.key")
    kube.within(SYSTEM)("delete", "secret", "tabard-ca")
    wait_until(lambda: kube.within(SYSTEM)("get", "secret", "tabard-ca", "--ignore-not-found"), "the Secret is back")
    assert (secret(kube, "ca.pem"), secret(kube, "ca.key")) == before
    meshed("rollout", "restart", "deployment/client")
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")


def test_a_new_root_takes_over_without_a_lost_request(meshed, kube, tmp_path):
    in_mesh(meshed)
    old = secret(kube, "ca.pem")
    trust_both, sign, forget = commands("A new root")
    load = Load(meshed, rate=10)
    run(kube, trust_both, tmp_path, TRUST_DOMAIN=kube.json("get", "meshsettings", "default")["spec"]["trustDomain"])
    run(kube, sign, tmp_path)
    wait_until(lambda: secret(kube, "ca.pem") != old, "the Secret has the new CA")
    for name in ("web", "client"):
        meshed("rollout", "restart", f"deployment/{name}")
        meshed.rolled_out(f"deployment/{name}")
    assert load.end()["failed"] == 0, load.log[-2000:]
    run(kube, forget, tmp_path)
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    meshed("rollout", "restart", "deployment/client")
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
