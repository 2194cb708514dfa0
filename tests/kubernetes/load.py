# SPDX-License-Identifier: Apache-2.0
"""Calls that go on beside a test or a measurement, from a pod of their own, and what came of them."""
import json
import time

import workloads
from daemon import wait_until
from workloads import container, pod_spec


class Load:
    """Calls of `account`, `rate` a second, a connection each, until `end`."""

    def __init__(self, kube, *arguments, account="client", url="http://web", rate=20):
        self.kube = kube
        self.name = f"load-{time.monotonic_ns()}"
        kube.apply(workloads.job(self.name, pod_spec(container("load", url, "--rate", rate, *arguments), account=account)))
        self.pod = wait_until(lambda: kube("get", "pods", "-l", f"job-name={self.name}", "-o", "name").strip(), "the load's pod")
        wait_until(lambda: "load begins" in kube("logs", self.pod, "-c", "app", check=False), "the load runs", every=0.3)
        self.log = ""

    def end(self):
        """What the caller says: calls, failed, failures, max_ms. Its whole log is in `log`."""
        self.kube("exec", self.pod, "-c", "app", "--", "/bin/kill", "-TERM", "1")
        wait_until(lambda: self.kube.json("get", self.pod)["status"]["phase"] in ("Succeeded", "Failed"), "the load has ended",
                   every=0.3)
        self.log = self.kube("logs", self.pod, "-c", "app")
        return json.loads(self.log.splitlines()[-1])
