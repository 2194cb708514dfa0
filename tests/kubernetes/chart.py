# SPDX-License-Identifier: Apache-2.0
"""Tabard's chart, as a user of Helm installs it, and what is said and left of it."""
import json
import subprocess
import tempfile

from daemon import Failed, wait_until
from install import ROOT, SYSTEM

CTL = ROOT / "bazel-bin/control/ctl/tabardctl"
IMAGE = "localhost/tabard:test"


def helm_path():
    """Helm, and why there is none: one of both is None."""
    found = subprocess.run([ROOT / "deploy/helm.sh"], capture_output=True, text=True)
    if found.returncode != 0:
        return None, found.stderr.strip().removeprefix("helm.sh: ")
    return found.stdout.strip(), None


def values(image=IMAGE, **more):
    """The values by which the chart takes an image."""
    repository, tag = image.rsplit(":", 1)
    return {"image": {"repository": repository, "tag": tag, "pullPolicy": "Never"}, **more}


class Chart:
    """The chart in the namespace of policyd. `namespace` is the Kube that calls there."""

    def __init__(self, kube, helm):
        self.kube = kube
        self.helm = helm
        self.namespace = kube.within(SYSTEM)

    def up(self, *words, **more):
        """Installs, or upgrades what is there."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values(**more), file)
            file.flush()
            done = self.kube.run(self.helm, "upgrade", "--install", "tabard", ROOT / "deploy/chart", "--namespace", SYSTEM,
                                 "--create-namespace", "--values", file.name, *words)
        if done.returncode != 0:
            raise Failed(f"helm: {done.stderr.strip()}")
        return done.stdout

    def wait(self):
        """Returns when policyd serves."""
        self.namespace.rolled_out("deployment/tabard-policyd")

    def down(self):
        """Uninstalls, and waits until nothing is left."""
        self.kube.run(self.helm, "uninstall", "tabard", "--namespace", SYSTEM, "--wait")
        self.delete_namespace()

    def delete_namespace(self):
        self.kube("delete", "namespace", SYSTEM, "--ignore-not-found", "--timeout=90s")


def check(kube, *words):
    """What `tabardctl check --kubernetes` says: its exit status and its lines."""
    done = kube.run(CTL, "check", "--kubernetes", *words)
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout.splitlines()


def inventory(kube):
    """Every object of the cluster that somebody made, as KIND SYSTEM/NAME. Events, leases, and what controllers keep by
    themselves come and go."""
    kinds = kube("api-resources", "--verbs=list", "-o", "name").split()
    passing = {"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses", "endpointslices.discovery.k8s.io",
               "ipaddresses.networking.k8s.io", "endpoints"}
    said = kube("get", ",".join(sorted(set(kinds) - passing)), "-A", "--ignore-not-found", "-o",
                "jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}")
    return set(said.split("\n")) - {""}


def settled(kube, before):
    """Waits until the inventory is as it was, and returns what is left over."""
    left = lambda: inventory(kube) - before
    try:
        wait_until(lambda: not left(), "nothing is left", seconds=30, every=1)
    except Failed:
        pass
    return left()
