# SPDX-License-Identifier: Apache-2.0
"""Tabard in a cluster, as a user installs it: the image, and deploy/install.yaml."""
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from daemon import Failed

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/tabard:dev"  # as deploy/install.yaml has it


def load_image(cluster, tag=IMAGE):
    """Makes the image of what Bazel built and gives it to the cluster. Returns its tag."""
    if os.environ.get("TABARD_IMAGES_LOADED"):
        return tag
    # The usual folder keeps the image of the usual name, for whoever takes it from there.
    out = ROOT / "out/image" / ("" if tag == IMAGE else tag.rpartition(":")[2])
    done = subprocess.run([sys.executable, "-B", ROOT / "deploy/image/build.py", "--tag", tag, "--out", out], capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise Failed(f"deploy/image/build.py: {done.stderr.strip()}")
    cluster.load(out / "tabard.tar")
    return tag


SYSTEM = "tabard-system"
MANIFEST = ROOT / "deploy/install.yaml"


def install(kube, *, image=IMAGE, seconds=120):
    """As README says, or with another image; returns when both replicas are ready."""
    kube.apply(MANIFEST.read_text().replace(f'"{IMAGE}"', f'"{image}"'))
    kube.within(SYSTEM).rolled_out("deployment/tabard-policyd", seconds=seconds)


def uninstall(kube):
    """Deletes what install made. The namespace that was labelled last should be gone by then: its pods lose their policy agent."""
    kube("delete", "-f", MANIFEST, "--ignore-not-found", "--wait=true", timeout=180)


def is_installed(kube):
    return bool(kube("get", "mutatingwebhookconfiguration", "tabard", "--ignore-not-found"))


def set_certificate_seconds(kube, seconds):
    """How long the next certificates of pods live; None: as long as the MeshSettings say nothing."""
    return kube("patch", "meshsettings", "default", "--type=merge", "-p", json.dumps({"spec": {"certificateSeconds": seconds}}))


@contextlib.contextmanager
def certificates_of(kube, seconds):
    """The next certificates of pods live so long, until the block ends."""
    before = kube.json("get", "meshsettings", "default")["spec"].get("certificateSeconds")
    set_certificate_seconds(kube, seconds)
    try:
        yield
    finally:
        set_certificate_seconds(kube, before)
