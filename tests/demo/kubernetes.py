# SPDX-License-Identifier: Apache-2.0
"""A namespace of a real Kubernetes cluster is labelled, and its services are in the mesh: ./dev demo kubernetes [--yes] [--keep]

The cluster is started here, and ended with the demo; KUBECONFIG names another, in which nothing is installed before its owner
has said yes. The first five commands are README's own. Every line after them is a claim that was just tried.
"""
import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("kubernetes", "demo")]

import install  # noqa: E402
import programs  # noqa: E402
import shop  # noqa: E402
from claims import Claims, expect, paint  # noqa: E402
from cluster import Cluster  # noqa: E402
from daemon import Failed  # noqa: E402
from kube import Kube, chosen_cluster  # noqa: E402

SECTION = "In Kubernetes"


def commands_of_readme(text=None):
    """The commands of the section, each with what its comment says of it."""
    text = (ROOT / "README.md").read_text() if text is None else text
    section = re.search(rf"^## {SECTION}\n(.*?)^## ", text, re.S | re.M)[1]
    block = re.search(r"^```sh\n(.*?)^```", section, re.S | re.M)[1]
    for line in block.splitlines():
        command, _, comment = line.partition(" # ")
        yield command.strip(), comment.strip()


def run_command(kube, command, is_denied):
    """Runs one as its reader would, and shows what it says."""
    print(f"\n{paint(1, '$ ' + command)}", flush=True)
    done = kube.run("bash", "-c", command, timeout=300, cwd=ROOT)
    for line in (done.stdout + done.stderr).splitlines()[-6:]:
        print(f"  {line}", flush=True)
    return (done.returncode != 0) == is_denied


@contextlib.contextmanager
def cluster_for_demo(arguments):
    """The cluster, with the images in it."""
    cluster = chosen_cluster(yes="--yes" in arguments)
    is_ours = isinstance(cluster, Cluster)
    if is_ours:
        reason = programs.why_not()
        if reason:
            raise Failed(reason)
        programs.build()
        print(f"a cluster of one node, ready after {cluster.start():.1f} s (etcd, API server, controllers, scheduler, containerd, "
              "kubelet, kube-proxy, CoreDNS)", flush=True)
    try:
        begun = time.monotonic()
        install.load_image(cluster)
        print(f"the image is in it after {time.monotonic() - begun:.1f} s", flush=True)
        yield cluster
    finally:
        if "--keep" in arguments or os.environ.get("TABARD_CLUSTER"):
            print(f"kept: KUBECONFIG={cluster.kubeconfig}; {ROOT / 'tests/kubernetes/cluster.py'} says how to use and end it")
        elif is_ours:
            cluster.stop()
        else:
            kube = Kube(cluster)
            kube("delete", "namespace", shop.NAMESPACE, "--ignore-not-found")
            install.uninstall(kube)


def show(cluster):
    kube, claims, begun = Kube(cluster), Claims(), time.monotonic()
    for command, comment in commands_of_readme():
        if not run_command(kube, command, is_denied=comment.startswith("denied")):
            raise Failed(f"README promises something else of this command\n{kube.within(shop.NAMESPACE).troubles()}\n"
                         f"{kube.within(install.SYSTEM).troubles()}")
    shop.show_all(kube, claims)
    print(f"\n{claims.num_held} claims held, {claims.num_failed} did not, {time.monotonic() - begun:.0f} s")
    expect(not claims.num_failed, "not all claims held")


def main():
    known = {"--yes", "--keep"}
    unknown = set(sys.argv[1:]) - known
    if unknown:
        sys.exit(f"demo kubernetes: {' '.join(sorted(unknown))} is not known; {' or '.join(sorted(known))} would be right")
    try:
        with cluster_for_demo(sys.argv[1:]) as cluster:
            show(cluster)
    except (Failed, AssertionError, subprocess.TimeoutExpired) as failure:
        sys.exit(f"demo kubernetes: {failure}")


if __name__ == "__main__":
    main()
