# SPDX-License-Identifier: Apache-2.0
"""Pods that are asked for by dry runs, so many a second, beside a test or a measurement: the webhook decides about each, and none
comes about."""
import http.client
import json
import ssl
import threading
import time

from node import ADDRESS

import workloads

NUM_CONNECTIONS = 8


class Creations:
    """`rate` dry runs a second in a namespace of the rig's cluster, until `end`."""

    def __init__(self, cluster, namespace, rate):
        self.cluster, self.rate = cluster, rate
        pki = cluster.folder / "pki"
        self.context = ssl.create_default_context(cafile=pki / "ca.crt")
        self.context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self.path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        self.times, self.failures, self.bare, self.begun = [], [], 0, time.monotonic()
        self.next, self.lock, self.is_over = 0, threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(NUM_CONNECTIONS)]
        for thread in self.threads:
            thread.start()

    def _connect(self):
        connection = http.client.HTTPSConnection(ADDRESS, 6443, context=self.context, timeout=30)
        with self.cluster.node.entered():
            connection.connect()
        return connection

    def _ask(self):
        connection = self._connect()
        while not self.is_over.is_set():
            with self.lock:
                number, self.next = self.next, self.next + 1
            time.sleep(max(0, self.begun + number / self.rate - time.monotonic()))
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"},
                   "spec": workloads.pod_spec(workloads.container("serve"))}
            asked = time.monotonic()
            connection.request("POST", self.path, body=json.dumps(pod), headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            self.times.append((time.monotonic() - asked) * 1000)
            if answer.status >= 300:
                self.failures.append(f"after {time.monotonic() - self.begun:.1f} s: {said.get('message')}")
            elif "initContainers" not in said["spec"]:
                self.bare += 1

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        self.times.sort()

    def quantile(self, part):
        return self.times[min(len(self.times) - 1, int(part * len(self.times)))]
