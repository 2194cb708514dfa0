# SPDX-License-Identifier: Apache-2.0
"""Many pods and Services as objects of a real API server, without a kubelet: what policyd takes for them, and how soon callers know
of a pod. Each Service has ten pods, a service account and a MeshPolicy of its own; ten Services are a namespace, in which all may
call all. No scheduler has the pods; their status is written from here."""
import base64
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import install
import pods

PODS_OF_ONE, SERVICES_OF_ONE, NUM_CONNECTIONS, NUM_ROUNDS = 10, 10, 6, 50
CALLERS = Path(__file__).resolve().parent / "callers.py"


def address(number):
    return f"10.{128 + number // 65536}.{number // 256 % 256}.{number % 256}"


def pod(name, service):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": f"app-{service}"}, "annotations": {"tabard.dev/status": "{}"}},
            "spec": {"serviceAccountName": f"app-{service}", "schedulerName": "nobody", "automountServiceAccountToken": False,
                     "initContainers": [{"name": "tabard", "image": "none", "restartPolicy": "Always"}],
                     "containers": [{"name": "app", "image": "none"}]}}


def running(ip):
    return {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                       "conditions": [{"type": "Ready", "status": "True"}]}}


class Crowd:
    def __init__(self, bench, apis, num_pods):
        self.kube, self.cluster, self.apis = bench.kube, bench.cluster, apis
        self.num_pods, self.num_services = num_pods, max(1, num_pods // PODS_OF_ONE)
        self.prefix = f"crowd-{time.monotonic_ns() % 10 ** 6}"
        self.namespaces = [f"{self.prefix}-{number}" for number in range((self.num_services - 1) // SERVICES_OF_ONE + 1)]

    def namespace_of(self, service):
        return self.namespaces[service // SERVICES_OF_ONE]

    def _all(self, does, items):
        """Over several connections at once."""
        waiting, failures = queue.SimpleQueue(), []
        for item in items:
            waiting.put(item)

        def work(api):
            try:
                while True:
                    does(api, waiting.get_nowait())
            except queue.Empty:
                pass
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)

        threads = [threading.Thread(target=work, args=(api,)) for api in self.apis]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _make_service(self, api, number):
        namespace, name = self.namespace_of(number), f"app-{number}"
        api("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})
        api("POST", f"/api/v1/namespaces/{namespace}/services",
            {"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
        addresses = [address(one) for one in range(number, self.num_pods, self.num_services)]
        api("POST", f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
            {"metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
             "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": [one]} for one in addresses]})
        api("POST", f"/apis/tabard.dev/v1alpha1/namespaces/{namespace}/meshpolicies",
            {"apiVersion": "tabard.dev/v1alpha1", "kind": "MeshPolicy", "metadata": {"name": name},
             "spec": {"selector": {"serviceAccounts": [name]}, "action": "ALLOW", "ports": [8080],
                      "rules": [{"from": [{"namespace": namespace}]}]}})

    def _make_pod(self, api, number):
        service = number % self.num_services
        self.start(api, service, f"app-{service}-{number}", address(number))

    def start(self, api, service, name, ip):
        """Returns when its status was asked to say that it is ready."""
        path = f"/api/v1/namespaces/{self.namespace_of(service)}/pods"
        api("POST", path, pod(name, service))
        asked = time.time()
        api("PATCH", f"{path}/{name}/status", running(ip), "application/merge-patch+json")
        return asked

    def make(self):
        self._all(lambda api, name: api("POST", "/api/v1/namespaces", {"metadata": {"name": name}}), self.namespaces)
        self._all(self._make_service, range(self.num_services))
        self._all(self._make_pod, range(self.num_pods))

    def remove(self):
        self.kube("delete", "namespace", *self.namespaces, "--wait=true", timeout=1800)

    def tokens(self):
        """Of one pod of each Service of the first namespace."""
        for service in range(min(SERVICES_OF_ONE, self.num_services)):
            said = self.apis[0]("POST", f"/api/v1/namespaces/{self.namespaces[0]}/serviceaccounts/app-{service}/token",
                                {"spec": {"audiences": ["tabard.dev"], "boundObjectRef": {
                                    "apiVersion": "v1", "kind": "Pod", "name": f"app-{service}-{service}"}}})
            yield said["status"]["token"]


class Listening:
    """The callers' streams, and what they were told."""

    def __init__(self, kube, folder, tokens):
        system = kube.within(install.SYSTEM)
        host = system.json("get", "service", "tabard-policyd")["spec"]["clusterIP"]
        (folder / "ca").mkdir()
        (folder / "ca/ca.pem").write_bytes(base64.b64decode(system.json("get", "secret", "tabard-ca")["data"]["roots.pem"]))
        self.process = kube.start(sys.executable, "-B", CALLERS, host, "15012", folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write("".join(f"{token}\n" for token in tokens))
        self.process.stdin.close()
        self.num, self.known = len(tokens), [set() for _ in tokens]

    def wait(self, does):
        """Reads until `does(known)` holds for every caller. Returns when the last of these lines was told."""
        at = time.time()
        while not all(does(known) for known in self.known):
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the callers' streams have ended")
            said = json.loads(line)
            self.known[said["caller"]] = self.known[said["caller"]] - set(said["gone"]) | set(said["told"])
            at = said["at"]
        return at


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(bench, make_api, num_pods):
    system = bench.kube.within(install.SYSTEM)
    crowd = Crowd(bench, [make_api(bench.cluster) for _ in range(NUM_CONNECTIONS)], num_pods)
    policyds = system.json("get", "pods", "-l", "app.kubernetes.io/component=policyd")["items"]

    def memory():
        return max(pods.memory_kib(bench.cluster, one, "tabard-policyd") for one in policyds)

    pids = [pid for one in policyds for pid in pods.pids(bench.cluster, one, "tabard-policyd")]
    before = memory()
    listening = None
    with tempfile.TemporaryDirectory() as folder:
        try:
            began, used = time.monotonic(), cpu_seconds(pids)
            crowd.make()
            tokens = list(crowd.tokens())
            listening = Listening(bench.kube, Path(folder), tokens)
            wanted = {address(number) for number in range(num_pods) if number % crowd.num_services < SERVICES_OF_ONE}
            listening.wait(wanted.issubset)
            bench.say(f"{num_pods} pods, {crowd.num_services} services", policyd_kib=memory(), empty_kib=before,
                      seconds_to_make=time.monotonic() - began, policyd_cpu_ms=(cpu_seconds(pids) - used) * 1000 / len(pids))
            come, go, used = [], [], cpu_seconds(pids)
            for number in range(NUM_ROUNDS):
                name, ip = f"comer-{number}", f"10.250.0.{number + 1}"
                path = f"/api/v1/namespaces/{crowd.namespaces[0]}/pods/{name}"
                asked = crowd.start(crowd.apis[0], 0, name, ip)
                come.append((listening.wait(lambda known, ip=ip: ip in known) - asked) * 1000)
                asked = time.time()
                crowd.apis[0]("DELETE", f"{path}?gracePeriodSeconds=0")
                go.append((listening.wait(lambda known, ip=ip: ip not in known) - asked) * 1000)
            bench.say("a pod comes and goes", callers=listening.num, known_p50_ms=statistics.median(come), known_max_ms=max(come),
                      gone_p50_ms=statistics.median(go), cpu_us=(cpu_seconds(pids) - used) * 1e6 / NUM_ROUNDS / len(pids))
        finally:
            if listening:
                listening.process.kill()
            crowd.remove()
