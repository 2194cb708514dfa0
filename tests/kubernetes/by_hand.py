# SPDX-License-Identifier: Apache-2.0
"""Sidecars without policyd and webhook: written into the pod by hand, with mesh.yaml and certificates in a Secret. It is what one
has who brings certificates of his own (cert-manager, SPIRE)."""
import base64
import copy
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = "cluster.local"
PROXY_UID = 1337
IMAGE = "localhost/tabard:dev"


class Authority:
    """The CA of the trust domain, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self._run("init", "--trust-domain", DOMAIN)

    def _run(self, what, *flags):
        subprocess.run([ROOT / "bazel-bin/certs/ca/tabard-ca", what, "--dir", self.folder / "ca", *flags], check=True, capture_output=True)

    def secret(self, name, namespace, mesh):
        """The Secret of a workload with account `name`: its certificate, and `mesh`, its mesh.yaml."""
        files = [self.folder / f"{name}.pem", self.folder / f"{name}.key"]
        self._run("issue", "--id", spiffe_id(namespace, name), "--out-cert", files[0], "--out-key", files[1])
        whole = {"identity": {"certificate": "cert.pem", "key": "key.pem"},
                 "trust_bundles": [{"trust_domain": DOMAIN, "roots": "roots.pem"}], **mesh}
        data = {"cert.pem": files[0].read_bytes(), "key.pem": files[1].read_bytes(),
                "roots.pem": (self.folder / "ca/ca.pem").read_bytes(), "mesh.yaml": json.dumps(whole).encode()}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"mesh-{name}"},
                "data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


def spiffe_id(namespace, account):
    return f"spiffe://{DOMAIN}/ns/{namespace}/sa/{account}"


def with_sidecar(workload, secret):
    """The Deployment (or another thing with a pod template) with a sidecar in its pods."""
    made = copy.deepcopy(workload)
    spec = made["spec"]["template"]["spec"]
    config = {"name": "mesh", "mountPath": "/etc/tabard", "readOnly": True}
    run = {"name": "run", "mountPath": "/run/tabard"}
    image = {"image": IMAGE, "imagePullPolicy": "Never"}
    init = {"name": "tabard-init", **image, "command": ["/usr/bin/tabardctl", "intercept", "up", "--proxy-uid", str(PROXY_UID)],
            "securityContext": {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}}
    sidecar = {"name": "tabard", **image, "restartPolicy": "Always",
               "args": ["--config", "/etc/tabard/mesh.yaml", "--health", "[::]:15021", "--metrics", "[::]:15020"],
               "startupProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}, "periodSeconds": 1, "failureThreshold": 30},
               "securityContext": {"runAsUser": PROXY_UID, "runAsGroup": PROXY_UID, "allowPrivilegeEscalation": False,
                                   "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
                                   "seccompProfile": {"type": "RuntimeDefault"}},
               "volumeMounts": [config, run]}
    spec["initContainers"] = [init, sidecar, *spec.get("initContainers", [])]
    spec["securityContext"] = {"fsGroup": PROXY_UID}
    spec["volumes"] = [*spec.get("volumes", []), {"name": "run", "emptyDir": {"medium": "Memory"}},
                       {"name": "mesh", "secret": {"secretName": secret, "defaultMode": 0o440}}]
    return made
