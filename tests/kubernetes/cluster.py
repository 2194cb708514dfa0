# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes cluster of one node, on this machine: etcd, the API server, the controller manager, the scheduler, containerd,
kubelet and kube-proxy, in a network namespace of their own (node.py). Root only.

    cluster.py up | down [--folder FOLDER]      starts it, or ends it and whatever a killed run left
    cluster.py load ARCHIVE... [--folder F]     imports images, as `ctr image import`
    cluster.py restart PART... [--folder F]     ends and starts parts: etcd, kube-apiserver, containerd, kubelet, ...
    cluster.py run COMMAND...  [--folder F]     runs a command in its network, with KUBECONFIG and PATH set
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import parts  # noqa: E402
import programs  # noqa: E402
from certificates import Authority  # noqa: E402
from daemon import Daemon, Failed, wait_until  # noqa: E402
from node import ADDRESS, Node  # noqa: E402

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "out/kubernetes/cluster"


class Cluster:
    """The cluster in `folder`. An object may be made for one that another process started: nothing is kept but in files."""

    def __init__(self, folder=FOLDER):
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Each folder has a cluster of its own, beside those of others.
        name = self.folder / "name"
        if not name.exists():
            name.write_text(f"tabard-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}")
        self.node = Node(name.read_text().strip(), self.folder)
        self.kubeconfig = self.folder / "pki/admin.kubeconfig"
        self.socket = self.folder / "containerd.sock"

    # Its life

    def is_up(self):
        return all(part.pid for part in self.parts().values())

    def parts(self):
        """Its programs by name, in the order in which they start."""
        if not self.node.holder.pid:
            return {}
        commands = parts.commands(self.folder, programs.FOLDER, self.node)
        return {name: Daemon(self.folder, name, self.node.command(command)) for name, command in commands.items()}

    def start(self):
        """Starts what does not run, and returns when the node is ready and DNS answers."""
        begun = time.monotonic()
        self.node.start()
        if not self.kubeconfig.exists():
            self._make_certificates()
        parts.write_files(self.folder, self.node)
        try:
            for name, part in self.parts().items():
                part.start()
                self._wait_for(part)
                if name == "containerd":
                    self.load(*map(programs.archive, programs.IMAGES))
            wait_until(self._has_ready_node, "the node is ready", every=0.3)
            self._start_dns()
        except Failed as failure:
            raise Failed(f"{failure}\n{self.logs()}") from None
        return time.monotonic() - begun

    def _start_dns(self):
        for words in (("apply", "-f", HERE / "dns.yaml"),
                      ("rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=60s")):
            done = self._run("kubectl", *map(str, words), capture_output=True)
            if done.returncode != 0:
                raise Failed(f"kubectl {words[0]}: {done.stderr.strip()}")

    def stop(self):
        """Ends all of it, whether it was started by this process, by another, or by one that was killed."""
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager"):
            Daemon(self.folder, name, []).stop()
        self.node.stop()
        shutil.rmtree(self.folder)

    def restart(self, *names):
        """Ends all of these parts, then starts them, and returns when they answer."""
        for name in names:
            self.parts()[name].stop()
        self.resume(*names)

    def lose_api_server(self):
        """Ends the API server as a machine that fails does. One that ends in order takes its own endpoint out of the Service
        `kubernetes`, and kube-proxy then left the chain of the endpoint empty when it was back: nobody reached the API server
        by that Service any more."""
        self.parts()["kube-apiserver"].kill()

    def resume(self, *names):
        """Starts parts that were ended, in their order. After the API server's absence the next test would wait a minute for
        those that make and place pods, which try it again at longer and longer intervals: they are started anew."""
        if "kube-apiserver" in names:
            names = (*names, "kube-controller-manager", "kube-scheduler")
            for name in names[-2:]:
                self.parts()[name].stop()
        for name, part in self.parts().items():
            if name in names:
                part.start()
                self._wait_for(part)

    def _wait_for(self, part):
        """Returns when a part that others call answers. As an init would, starts anew what ended: kubelet does if containerd is
        not ready for it yet."""
        answers = {
            "kube-apiserver": lambda: self._ask("get", "--raw", "/readyz") == "ok",
            "containerd": lambda: self._ctr("version").returncode == 0,
            "kubelet": lambda: self._ask("get", "--raw", f"/api/v1/nodes/{parts.NODE_NAME}/proxy/healthz") == "ok",
        }
        if part.name in answers:
            wait_until(lambda: answers[part.name]() or part.start(), f"{part.name} answers", every=0.3)

    def _make_certificates(self):
        folder = self.folder / "pki"
        folder.mkdir(mode=0o700, exist_ok=True)
        authority = Authority(folder)
        server = f"https://{ADDRESS}:6443"
        authority.issue("apiserver", "kube-apiserver", addresses=[ADDRESS, "127.0.0.1", parts.API_CLUSTER_IP],
                        names=["kubernetes", "kubernetes.default", "kubernetes.default.svc",
                               f"kubernetes.default.svc.{parts.DNS_DOMAIN}"])
        authority.issue("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters")
        authority.issue("kubelet-server", f"system:node:{parts.NODE_NAME}", "system:nodes", addresses=[ADDRESS])
        authority.kubeconfig("kubelet", server, f"system:node:{parts.NODE_NAME}", "system:nodes")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            authority.kubeconfig(name, server, f"system:{name}")
        authority.kubeconfig("admin", server, "admin", "system:masters")

    def _has_ready_node(self):
        said = self._ask("get", "node", parts.NODE_NAME, "-o", "json")
        conditions = json.loads(said)["status"].get("conditions", []) if said else []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def logs(self):
        return "\n".join(part.log_end() for part in self.parts().values())

    # Its use

    def environment(self):
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{programs.FOLDER}:{os.environ['PATH']}"}

    def command(self, *words):
        """The command line that calls from the cluster's network; give it `environment`."""
        return self.node.network_command(words)

    def _run(self, *words, **more):
        return subprocess.run(self.command(*words), env=os.environ | self.environment(), text=True, **more)

    def _ask(self, *words):
        """What kubectl says, or '' where it fails."""
        done = self._run("kubectl", "--request-timeout=5s", *words, capture_output=True)
        return done.stdout if done.returncode == 0 else ""

    def _ctr(self, *words):
        return self._run("ctr", "--address", str(self.socket), "--namespace", "k8s.io", *words, capture_output=True)

    def load(self, *archives):
        """Imports images from archives of the docker or the OCI kind."""
        for archive in archives:
            done = self._ctr("image", "import", str(archive))
            if done.returncode != 0:
                raise Failed(f"ctr image import {archive}: {done.stderr.strip()}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--folder", default=os.environ.get("TABARD_CLUSTER", FOLDER), type=Path)
    arguments.add_argument("what", choices=["up", "down", "load", "restart", "run"])
    arguments.add_argument("words", nargs=argparse.REMAINDER)
    given = arguments.parse_args()
    if given.what == "up":
        reason = programs.why_not()
        if reason:
            sys.exit(f"cluster.py: {reason}")
        programs.build()
    cluster = Cluster(given.folder)
    if given.what == "up":
        print(f"the node is ready after {cluster.start():.1f} s; KUBECONFIG={cluster.kubeconfig}")
    elif given.what == "down":
        cluster.stop()
    elif given.what == "load":
        cluster.load(*given.words)
    elif given.what == "restart":
        cluster.restart(*given.words)
    else:
        os.execvpe("nsenter", cluster.command(*given.words), os.environ | cluster.environment())


if __name__ == "__main__":
    main()
