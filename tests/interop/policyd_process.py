# SPDX-License-Identifier: Apache-2.0
"""tabard-policyd as an object, without grpcio: its folder, its process, what it logs and counts."""
import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "e2e")]

from mesh import DOMAIN, PROGRAMS, REPORT, ROOT, Logged, run, split_address, wait_until  # noqa: E402, F401


def spiffe(name):
    return f"spiffe://{DOMAIN}/ns/fleet/sa/{name}"


def workload(name, address=None, **more):
    made = {"spiffe_id": spiffe(name), "by_join_token": True, "by_certificate": True}
    if address:
        made |= {"addresses": [address], "ports": [8080]}
    return made | more


def allow(name, target, *principals, ports=()):
    made = {"name": name, "action": "ALLOW", "mode": "ENFORCE", "rules": [{"principals": list(principals)}]}
    if ports:
        made["ports"] = list(ports)
    return {"targets": [target], "policy": made}


class Policyd(Logged):
    """One tabard-policyd on a folder; several may share it."""

    name = "tabard-policyd"
    alive = []

    def __init__(self, fleet=None, *, folder=None, arguments=(), netns=None, start=True, listen="127.0.0.1:0", prefix=(),
                 key="p256"):
        self.owns = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tabard-policyd-"))
        self.netns = netns
        self.prefix = list(prefix)
        if self.owns:
            run("tabard-ca", "init", "--dir", self.folder / "ca", "--trust-domain", DOMAIN, "--key", key)
            (self.folder / "fleet").mkdir()
        if fleet is not None:
            self.write("fleet", fleet)
        self.num = len(Policyd.alive)
        self.unix = self.folder / f"policyd-{self.num}.sock"
        self.log_path = self.folder / f"log-{self.num}"
        self.log_path.touch()
        self.arguments = ["--dir", self.folder, "--unix", self.unix, *(["--listen", listen] if listen else []),
                          "--metrics", "127.0.0.1:0", "--health", "127.0.0.1:0", *arguments]
        self.has_tcp = listen is not None
        self.process = None
        Policyd.alive.append(self)
        if start:
            self.start()

    def start(self):
        mark = self.mark()
        command = ["setpriv", "--pdeathsig", "KILL", *self.prefix, str(PROGRAMS["tabard-policyd"]), *map(str, self.arguments)]
        if self.netns:
            command = self.netns.command(command)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_line(mark, msg="started")
        if self.has_tcp:
            self.tcp = split_address(self.wait_line(mark, msg="listening", what="tcp")["address"])
        self.metrics_at = split_address(self.wait_line(mark, msg="listening", what="metrics")["address"])
        self.health_at = split_address(self.wait_line(mark, msg="listening", what="health")["address"])
        # Of the start: what is written from now on is a change.
        wait_until(f"{self.name} has read its folder", lambda: self.lines(mark, msg="fleet in force")
                   or self.lines(mark, msg="update refused", what="fleet"))
        return self

    def write(self, name, fleet):
        new = self.folder / "fleet" / f".{name}.new"
        new.write_text(fleet if isinstance(fleet, str) else json.dumps(fleet, indent=1) + "\n")
        new.rename(self.folder / "fleet" / f"{name}.yaml")

    def apply(self, fleet, name="fleet"):
        mark = self.mark()
        self.write(name, fleet)
        self.wait_line(mark, msg="fleet in force")

    def token(self, name, *flags):
        return run("tabard-policyd", "token", "--dir", self.folder, "--id", spiffe(name), *flags).stdout.strip()

    def issue(self, name, *flags):
        """A certificate by tabard-ca: (chain, key) paths."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        run("tabard-ca", "issue", "--dir", self.folder / "ca", "--id", spiffe(name), "--out-cert", made / "pem", "--out-key",
            made / "key", *flags)
        return made / "pem", made / "key"

    def get(self, at, path):
        """A page: (status, text)."""
        with self.netns.entered() if self.netns else contextlib.nullcontext():
            connection = http.client.HTTPConnection(*at, timeout=10)
            connection.connect()
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def metrics_page(self):
        return self.get(self.metrics_at, "/metrics")[1]

    def metrics(self):
        samples = (line.rsplit(" ", 1) for line in self.metrics_page().splitlines() if line and not line.startswith("#"))
        return {name.removeprefix("tabard_policyd_"): float(value) for name, value in samples}

    def stop(self, how=signal.SIGTERM, seconds=20):
        self.process.send_signal(how)
        return self.process.wait(timeout=seconds)

    def close(self):
        if self in Policyd.alive:
            Policyd.alive.remove(self)
        code = None
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                code = self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                code = "hung"
        report = REPORT.search(self.log())
        text = self.log()
        if self.owns:
            shutil.rmtree(self.folder, ignore_errors=True)
        if report or code not in (None, 0):
            raise AssertionError(f"tabard-policyd ended with {code}: {text[-4000:]}")
