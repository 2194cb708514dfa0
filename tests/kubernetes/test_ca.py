# SPDX-License-Identifier: Apache-2.0
"""The CA in its Secret: what docs/kubernetes.md says to do about it is done here as it is written."""
import base64
import re
import subprocess

import pytest

import workloads
from daemon import wait_until
from install import ROOT, SYSTEM, certificates_of
from load import Load
from pods import serial_of, sidecar_restarts

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


def in_mesh(meshed):
    meshed.apply(*workloads.server("web"), *workloads.caller("client"), workloads.policy("web", meshed.namespace, "client", to="web"))
    meshed.rolled_out("deployment/web")
    meshed.rolled_out("deployment/client")


def test_a_pod_whose_certificate_was_revoked_has_a_new_one_within_seconds_and_nobody_serves_the_old(meshed, kube, tmp_path):
    in_mesh(meshed)
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    [before] = meshed.json("get", "pods", "-l", "app=client")["items"]
    serial = serial_of(meshed, "deployment/client")
    assert serial
    # A connection of the old certificate, which stays open for as long as web serves it.
    held = meshed.start(*meshed.words("exec", "deployment/client", "-c", "app", "--", "/bin/app", "hold", "web:80", "--connections", "1"),
                        stdout=subprocess.PIPE)
    try:
        assert "1 connections are open" in held.stdout.readline()
        [revoke] = commands("Revoke the certificate of a pod")
        run(kube, revoke, tmp_path, SERIAL=serial)
        wait_until(lambda: serial in secret(kube, "revoked"), "one of the replicas has revoked it")
        wait_until(lambda: "reason=revoked" in meshed("logs", "deployment/web", "-c", "tabard"), "web has cut it off", seconds=20)
        wait_until(lambda: serial_of(meshed, "deployment/client") not in ("", serial), "the client has another one", seconds=20)
    finally:
        held.kill()
        held.communicate()
    assert "BEGIN X509 CRL" in secret(kube, "crl.pem")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web", seconds=20)
    [after] = meshed.json("get", "pods", "-l", "app=client")["items"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"] and sidecar_restarts(after) == 0


def test_a_secret_that_somebody_deletes_is_put_back_as_it_was(meshed, kube):
    in_mesh(meshed)
    before = secret(kube, "ca.pem"), secret(kube, "ca.key")
    kube.within(SYSTEM)("delete", "secret", "tabard-ca")
    wait_until(lambda: kube.within(SYSTEM)("get", "secret", "tabard-ca", "--ignore-not-found"), "the Secret is back")
    assert (secret(kube, "ca.pem"), secret(kube, "ca.key")) == before
    meshed("rollout", "restart", "deployment/client")
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")


def serials(meshed, *whats):
    return [serial_of(meshed, what) for what in whats]


def test_a_new_root_takes_over_by_renewals_without_a_lost_request_and_the_old_one_goes(meshed, kube, tmp_path):
    trust_both, sign, forget = commands("A new root")
    with certificates_of(kube, 60):
        in_mesh(meshed)
        load = Load(meshed, rate=10)
        run(kube, trust_both, tmp_path, TRUST_DOMAIN=kube.json("get", "meshsettings", "default")["spec"]["trustDomain"])
        old = secret(kube, "ca.pem")
        run(kube, sign, tmp_path)
        assert secret(kube, "ca.pem") != old
        # No pod is restarted: half of a certificate's life is waited for, which here is half a minute.
        sidecars = ["deployment/web", "deployment/client", load.pod]
        before = serials(meshed, *sidecars)
        assert all(before)
        wait_until(lambda: all(now not in ("", then) for now, then in zip(serials(meshed, *sidecars), before)),
                   "each sidecar has renewed its certificate", seconds=45, every=1)
    run(kube, forget, tmp_path)
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
    assert load.end()["failed"] == 0, load.log[-2000:]
    meshed("rollout", "restart", "deployment/client")
    meshed.rolled_out("deployment/client")
    meshed.exec("deployment/client", "/bin/app", "call", "http://web")
