# SPDX-License-Identifier: Apache-2.0
"""What Tabard costs a real cluster of one node: ./dev bench kubernetes [--rollouts N] [--pods N] [--json FILE] [CASE...]

Everything runs on this machine, the control plane too, so times are those of a busy small node. The same is measured in a
namespace outside the mesh where that makes sense.
"""
import argparse
import contextlib
import http.client
import json
import os
import ssl
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/kubernetes")]

import crowd  # noqa: E402
import install  # noqa: E402
import pods  # noqa: E402
import programs  # noqa: E402
import workloads  # noqa: E402
from cluster import Cluster  # noqa: E402
from creations import Creations  # noqa: E402
from daemon import wait_until  # noqa: E402
from kube import Kube  # noqa: E402
from load import Load  # noqa: E402
from node import ADDRESS  # noqa: E402

NUM_STARTS, NUM_CONNECTIONS, NUM_CHANGES, NUM_REPLICAS = 10, 1000, 30, 5
API_AWAY_SECONDS, SHIM_SECONDS = 60, 10
WEBHOOK_RATE, WEBHOOK_SECONDS = 100, 10


def quantile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


class Api:
    """One connection to the API server, without kubectl's start in every figure."""

    def __init__(self, cluster):
        pki = cluster.folder / "pki"
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self.connection = http.client.HTTPSConnection(ADDRESS, 6443, context=context, timeout=30)
        with cluster.node.entered():
            self.connection.connect()

    def __call__(self, method, path, body=None, kind="application/json"):
        self.connection.request(method, path, body=json.dumps(body) if body else None, headers={"Content-Type": kind})
        answer = self.connection.getresponse()
        said = json.loads(answer.read())
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {said.get('message')}")
        return said


class Bench:
    def __init__(self, cluster, rollouts, pods):
        self.kube, self.cluster, self.rollouts, self.pods = Kube(cluster), cluster, rollouts, pods
        self.figures = {}

    def say(self, name, **figures):
        self.figures[name] = figures
        print(f"{name:34} " + "  ".join(f"{key}={value:.0f}" if isinstance(value, float) else f"{key}={value}"
                                        for key, value in figures.items()), flush=True)

    @contextlib.contextmanager
    def namespace(self, name, *, meshed=True):
        labels = {"tabard.dev/inject": "enabled"} if meshed else {}
        made = self.kube.make_namespace(f"bench-{name}-{time.monotonic_ns() % 10 ** 6}", **labels)
        try:
            yield made
        finally:
            self.kube("delete", "namespace", made.namespace, "--wait=true", timeout=180)

    @contextlib.contextmanager
    def web(self, name, *, meshed=True, replicas=2):
        """A namespace with a server that `client` may call."""
        with self.namespace(name, meshed=meshed) as made:
            made.apply(*workloads.server("web", replicas=replicas), *workloads.caller("client"))
            if meshed:
                made.apply(workloads.policy("web", made.namespace, "client", to="web"))
            for one in ("web", "client"):
                made.rolled_out(f"deployment/{one}")
            made.exec("deployment/client", "/bin/app", "call", "http://web")
            yield made

    # Cases

    def pod_start(self):
        """From the request that creates a pod to its being Ready, as the API server shows it.

        A pod outside the mesh with an init container that ends at once and a sidecar that serves at once shows what
        Kubernetes itself takes for a pod of that form.
        """
        api = Api(self.cluster)
        idle = [workloads.container(name="init", command=["/bin/busybox", "true"]),
                workloads.container("serve", "--port", 9999, name="sidecar", restartPolicy="Always",
                                    startupProbe={"httpGet": {"port": 9999, "path": "/"}, "periodSeconds": 1})]
        for text, meshed, inits in (("outside the mesh", False, []), ("outside, of the same form", False, idle), ("in the mesh", True, [])):
            with self.namespace("start", meshed=meshed) as made:
                times = [self._start_pod(api, made.namespace, f"p{number}", inits) for number in range(NUM_STARTS)]
            self.say(f"pod start, {text}", p50_ms=statistics.median(times), max_ms=max(times))

    def _start_pod(self, api, namespace, name, inits):
        serves = workloads.container("serve", readinessProbe={"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1})
        path = f"/api/v1/namespaces/{namespace}/pods"
        begun = time.monotonic()
        api("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                           "spec": workloads.pod_spec(serves, initContainers=inits)})
        wait_until(lambda: pods.is_ready(api("GET", f"{path}/{name}")), f"{name} is ready", every=0.01)
        return (time.monotonic() - begun) * 1000

    def memory(self):
        """A sidecar's proportional set size, idle and with connections through it."""
        with self.web("memory", replicas=1) as made:
            def measure(text):
                pod = made.json("get", "pods", "-l", "app=web")["items"][0]
                self.say(text, **{f"{name}_kib": pods.memory_kib(self.cluster, pod, f"tabard-{name}") for name in ("agent", "proxy")})

            measure("memory, idle")
            holder = made.start(*made.words("exec", "deployment/client", "-c", "app", "--", "/bin/app", "hold", "web:80",
                                            "--connections", str(NUM_CONNECTIONS)), stdout=-1)
            line = holder.stdout.readline()
            if "are open" not in line:
                raise RuntimeError(f"the connections did not come about: {line}")
            measure(f"memory, {NUM_CONNECTIONS} inbound connections")
            holder.kill()

    def policy_change(self):
        """From the request that changes a MeshPolicy to the first call of each pod that goes by it."""
        api = Api(self.cluster)
        with self.web("policy", replicas=NUM_REPLICAS) as made:
            addresses = [pod["status"]["podIP"] for pod in made.json("get", "pods", "-l", "app=web")["items"]]
            urls = [f"http://{address}:8080" for address in addresses]
            caller = made.start(*made.words("exec", "deployment/client", "-c", "app", "--", "/bin/app", "flips", *urls), stdout=-1)
            path = f"/apis/tabard.dev/v1alpha1/namespaces/{made.namespace}/meshpolicies/web"
            for _ in urls:
                caller.stdout.readline()
            times = []
            for number in range(NUM_CHANGES):
                action = "DENY" if number % 2 == 0 else "ALLOW"
                begun = time.time()
                api("PATCH", path, {"spec": {"action": action}}, "application/merge-patch+json")
                for _ in urls:
                    at, state, _ = caller.stdout.readline().split()
                    if state != ("failed" if action == "DENY" else "answered"):
                        raise RuntimeError(f"a call was {state} after {action}")
                    times.append(int(at) / 1000 - begun * 1000)
            caller.kill()
        self.say(f"policy change, {NUM_REPLICAS} pods", p50_ms=statistics.median(times), p99_ms=quantile(times, 0.99), changes=NUM_CHANGES)

    def _under_load(self, name, made, does, **more):
        load = Load(made, rate=50)
        does()
        said = load.end()
        self.say(name, calls=said["calls"], failed=said["failed"], max_ms=said["max_ms"], **more)
        for text, number in said["failures"].items():
            print(f"    {number} x {text}")

    def rolling_updates(self):
        for meshed in (False, True):
            with self.web("rolling", meshed=meshed) as made:
                def roll():
                    for _ in range(self.rollouts):
                        made("rollout", "restart", "deployment/web")
                        made.rolled_out("deployment/web")

                self._under_load(f"{self.rollouts} rolling updates, {'in' if meshed else 'outside'} the mesh", made, roll)

    def policyd(self):
        system = self.kube.within(install.SYSTEM)
        with self.web("policyd") as made:
            def restart():
                system("rollout", "restart", "deployment/tabard-policyd")
                system.rolled_out("deployment/tabard-policyd")

            def kill():
                pods.kill(self.cluster, system.json("get", "pods")["items"][0], "tabard-policyd")
                system.rolled_out("deployment/tabard-policyd")

            self._under_load("policyd's rolling update", made, restart)
            self._under_load("kill -9 of a policyd", made, kill)

    def shim(self):
        """The containerd-shim above one pod of two ends by force: the whole pod goes with it."""
        for meshed in (False, True):
            with self.web("shim", meshed=meshed) as made:
                def kill():
                    pod = made.json("get", "pods", "-l", "app=web")["items"][0]
                    os.kill(pods.shim_of(pods.pids(self.cluster, pod, "app")[0]), 9)
                    time.sleep(SHIM_SECONDS)  # of calls, so that what fails is a part of something
                    made.rolled_out("deployment/web")

                self._under_load(f"kill -9 of a containerd-shim, {'in' if meshed else 'outside'} the mesh", made, kill)

    def webhook(self):
        """From the API server's view: the time of a dry run in a namespace of the mesh and in another one."""
        for meshed in (False, True):
            with self.namespace("webhook", meshed=meshed) as made:
                wait_until(lambda made=made: made("get", "serviceaccount", "default", check=False), "the account is there")
                creations = Creations(self.cluster, made.namespace, WEBHOOK_RATE)
                time.sleep(WEBHOOK_SECONDS)
                creations.end()
            self.say(f"{WEBHOOK_RATE} pods a second, {'in' if meshed else 'outside'} the mesh", pods=len(creations.times),
                     failed=len(creations.failures), p50_ms=creations.quantile(0.5), p99_ms=creations.quantile(0.99),
                     max_ms=creations.times[-1])

    def api_server(self):
        with self.web("api") as made:
            def away():
                self.cluster.lose_api_server()
                time.sleep(API_AWAY_SECONDS)
                self.cluster.resume("kube-apiserver")

            self._under_load(f"API server away for {API_AWAY_SECONDS} s", made, away)

    def objects(self):
        crowd.measure(self, Api, self.pods)


CASES = ("pod_start", "memory", "webhook", "policy_change", "rolling_updates", "policyd", "shim", "api_server", "objects")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rollouts", type=int, default=20)
    arguments.add_argument("--pods", type=int, default=5000, help="of the case objects; a tenth of them are services")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=" ".join(CASES))
    given = arguments.parse_args()
    unknown = set(given.cases) - set(CASES)
    if unknown:
        sys.exit(f"bench kubernetes: {' '.join(sorted(unknown))} is not known; {' '.join(CASES)} would be right")
    reason = programs.why_not()
    if reason:
        sys.exit(f"bench kubernetes: {reason}")
    programs.build()
    shared = os.environ.get("TABARD_CLUSTER")
    cluster = Cluster(shared) if shared else Cluster()
    try:
        cluster.start()
        install.load_image(cluster)
        install.install(Kube(cluster))
        bench = Bench(cluster, given.rollouts, given.pods)
        for case in given.cases or CASES:
            getattr(bench, case)()
        if given.json:
            given.json.write_text(json.dumps(bench.figures, indent=1) + "\n")
    finally:
        if not shared:
            cluster.stop()


if __name__ == "__main__":
    main()
