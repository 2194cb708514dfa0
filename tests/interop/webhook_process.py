# SPDX-License-Identifier: Apache-2.0
"""A tabard-policyd with a webhook as an object, and who calls it."""
import atexit
import functools
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path

from policyd_process import ROOT, Policyd, run, split_address

NAME = "tabard-policyd.tabard-system.svc"
REVIEWS = [line for line in (ROOT / "tests/unit/control/kube/webhook/reviews.jsonl").read_text().splitlines() if line]
INJECT = "image: localhost/tabard:dev\npolicy_agent: tabard-policyd.tabard-system.svc:15012\n"


class Webhook(Policyd):
    """A policyd that serves the webhook beside its folder."""

    def __init__(self, *arguments, inject=INJECT, waits=True, netns=None):
        self.waits = waits
        folder = Path(tempfile.mkdtemp(prefix="tabard-webhook-"))
        run("tabard-ca", "init", "--dir", folder / "ca", "--trust-domain", "demo.example")
        (folder / "fleet").mkdir()
        (folder / "fleet" / "none.yaml").write_text("workloads: []\n")
        self.inject = folder / "inject.yaml"
        self.inject.write_text(inject)
        address = netns.ipv4 if netns else "127.0.0.1"
        super().__init__(folder=folder, netns=netns, arguments=["--webhook", f"{address}:0", "--inject-config", self.inject,
                                                                "--namespace", "tabard-system", *arguments])
        self.owns = True

    def start(self):
        mark = self.mark()
        super().start()
        self.at = split_address(self.wait_line(mark, msg="listening", what="webhook")["address"])
        if self.waits:
            self.wait_line(mark, msg="injection in force")
        return self

    def stop_now(self):
        """Without waiting until nobody is led here any more."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_line(0, msg="stopping")
        return self.stop()

    def close(self):
        if self.process and self.process.poll() is None:
            self.stop_now()
        super().close()

    @property
    def roots(self):
        return self.folder / "ca" / "ca.pem"

    def connect(self, alpn=None):
        context = ssl.create_default_context(cafile=self.roots)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context.wrap_socket(socket.create_connection(self.at, timeout=10), server_hostname=NAME)

    def ask(self, body, path="/inject?timeout=10s", method="POST", kind="application/json", more=()):
        """What curl gets: (status, text)."""
        given = self.folder / "request"
        given.write_bytes(body if isinstance(body, bytes) else body.encode())
        done = subprocess.run(["curl", "-sS", "--cacert", self.roots, "--connect-to", f"{NAME}:443:127.0.0.1:{self.at[1]}",
                               "-X", method, *more, "-H", f"Content-Type: {kind}", *(["--data-binary", f"@{given}"] if body else []),
                               "-w", "\n%{http_code}", f"https://{NAME}{path}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        text, code = done.stdout.rsplit("\n", 1)
        return int(code), text

    def reviews(self, result):
        return self.metrics()[f'webhook_reviews_total{{result="{result}"}}']


def review_of(pod, **more):
    request = {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop", "operation": "CREATE",
               "object": pod}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | more})


POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}


@functools.cache
def caller_path():
    """The caller (webhook_caller.go), compiled."""
    folder = tempfile.mkdtemp(prefix="tabard-caller-")
    atexit.register(shutil.rmtree, folder)
    subprocess.run(["go", "build", "-o", f"{folder}/caller", ROOT / "tests/interop/webhook_caller.go"], check=True)
    return f"{folder}/caller"


def call(webhook, rate, seconds, netns=None):
    """Go's net/http, as an API server uses it: what came of so many reviews a second."""
    review = webhook.folder / "review"
    review.write_text(REVIEWS[0])
    command = [caller_path(), "%s:%d" % webhook.at, webhook.roots, NAME, review, str(rate), str(seconds)]
    done = subprocess.run(netns.command(list(map(str, command))) if netns else command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
