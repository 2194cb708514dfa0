# SPDX-License-Identifier: Apache-2.0
"""kubectl as an object, for the tests, the demo and the measurements: with the rig's own cluster or with one that is there."""
import json
import os
import subprocess
import sys
from pathlib import Path

from cluster import Cluster
from daemon import Failed, wait_until


class Refused(Failed):
    """A cluster that was named, but whose owner has not said that anything may be installed there."""


class ExistingCluster:
    """The cluster that a KUBECONFIG names: called from here, and never started, stopped or restarted."""

    def __init__(self, kubeconfig):
        self.kubeconfig = Path(kubeconfig)

    def environment(self):
        return {"KUBECONFIG": str(self.kubeconfig)}

    def command(self, *words):
        return list(words)

    def load(self, *archives):
        """Its nodes can't be reached from here."""
        names = " ".join(str(archive) for archive in archives)
        raise Failed(f"load these images into the cluster's nodes first (kind load image-archive, minikube image load, ctr image "
                     f"import), and say so by TABARD_IMAGES_LOADED=1: {names}")


def chosen_cluster(*, yes=False, ask=input):
    """The cluster to use: the one that KUBECONFIG names, if its owner agrees; else the rig's, not yet started."""
    named = os.environ.get("KUBECONFIG")
    if not named:
        return Cluster(os.environ["TABARD_CLUSTER"]) if os.environ.get("TABARD_CLUSTER") else Cluster()
    existing = ExistingCluster(named)
    if not yes:
        question = f"KUBECONFIG={named} is set. May Tabard, its CRDs and its webhook be installed in that cluster?"
        if not sys.stdin.isatty():
            raise Refused(f"{question} Nobody is here to answer; --yes says yes, and without KUBECONFIG a cluster is started here")
        if ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise Refused("nothing was installed")
    return existing


class Kube:
    """Calls kubectl, in one namespace if it has one."""

    def __init__(self, cluster, namespace=None):
        self.cluster = cluster
        self.namespace = namespace

    def within(self, namespace):
        return Kube(self.cluster, namespace)

    def run(self, *words, timeout=120, **more):
        """Any command that finds the cluster by KUBECONFIG."""
        return subprocess.run(self.cluster.command(*map(str, words)), env=os.environ | self.cluster.environment(), text=True,
                              capture_output=True, timeout=timeout, **more)

    def start(self, *words, **more):
        """As `run`, but goes on beside the caller."""
        return subprocess.Popen(self.cluster.command(*map(str, words)), env=os.environ | self.cluster.environment(), text=True, **more)

    def words(self, *words):
        return ["kubectl", *(["--namespace", self.namespace] if self.namespace else []), *words]

    def __call__(self, *words, check=True, **more):
        """What kubectl says on stdout; Failed with what it says on stderr."""
        done = self.run(*self.words(*words), **more)
        if check and done.returncode != 0:
            raise Failed(f"kubectl {' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def json(self, *words):
        return json.loads(self(*words, "-o", "json"))

    def json_of(self, given, *words):
        """What kubectl makes of an object that it is given as a file."""
        return json.loads(self(*words, "-o", "json", input=json.dumps(given)))

    def apply(self, *objects):
        """Applies objects: dictionaries, or YAML text."""
        documents = [one if isinstance(one, str) else json.dumps(one) for one in objects]
        return self("apply", "-f", "-", input="\n---\n".join(documents))

    def make_namespace(self, name, **labels):
        """A namespace, and the Kube that calls in it."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        return self.within(name)

    def rolled_out(self, what, *, seconds=90):
        """Waits until the rollout of `what` (deployment/NAME) is done; else Failed with what its pods say."""
        done = self.run(*self.words("rollout", "status", what, f"--timeout={seconds}s"), timeout=seconds + 30)
        if done.returncode != 0:
            raise Failed(f"{what}: {done.stderr.strip()}\n{self.troubles()}")

    def exec(self, what, *command, seconds=30):
        """What a command says in a pod (deployment/NAME), once it has succeeded: Services and a kubelet need their moment."""
        said = ""

        def succeeds():
            nonlocal said
            done = self.run(*self.words("exec", what, "-c", "app", "--", *command))
            said = done.stdout if done.returncode == 0 else f"{done.stdout}{done.stderr}"
            return done.returncode == 0

        try:
            wait_until(succeeds, f"{' '.join(map(str, command))} succeeds in {what}", seconds=seconds, every=0.2)
        except Failed as failure:
            raise Failed(f"{failure}\n{said}") from None
        return said

    def troubles(self):
        """What is known of the namespace's pods: for who has to find out why something did not come true."""
        told = [self("get", "pods", "-o", "wide", check=False),
                self("get", "events", "--sort-by=.lastTimestamp", "-o",
                     r"custom-columns=:.involvedObject.name,:.reason,:.message", check=False)[-3000:]]
        for pod in self.json("get", "pods")["items"]:
            name = pod["metadata"]["name"]
            told.append(f"--- {name}\n" + self("logs", name, "--all-containers", "--prefix", "--tail=15", check=False))
        return "\n".join(told)
