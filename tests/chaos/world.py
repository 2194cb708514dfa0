# SPDX-License-Identifier: Apache-2.0
"""What chaos happens to: a loaded pair and a stranger, each with a sidecar and interception, which one tabard-policyd steers.

web calls api all the time. stranger's identity is as good as theirs, and no policy lets it call api. outside has no sidecar.
Every program has a clock that can be set wrong, a log whose reader can pause, and its files on a disk that can be full.
"""
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import netns
from clock import Clock
from mesh import DOMAIN, PROGRAMS, Agent, Missing, run, wait_until
from policyd_process import Policyd, allow, spiffe, workload

SIDECARS = ("web", "api", "stranger")
SERVICE_PORT, POLICY_PORT = 8080, 15012
DISK_BYTES = 8 << 20
LIFE_S = 120  # of a certificate: several are renewed in a run
BACK_S = 45  # within which everything must be as before, from the end of an event


class SlowLog:
    """A FIFO that a program writes its log to, whose reader fills `path` and can pause."""

    def __init__(self, folder, name, path):
        self.fifo, self.path = folder / f"{name}.fifo", path
        os.mkfifo(self.fifo)
        self.fd = os.open(self.fifo, os.O_RDWR)
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 4096)
        self.may_read = threading.Event()
        self.may_read.set()
        self.prefix = ["sh", "-c", f'exec "$@" 2>>{self.fifo}', "sh"]
        threading.Thread(target=self._copy, daemon=True).start()

    def _copy(self):
        with open(self.path, "ab", buffering=0) as out:
            while True:
                self.may_read.wait()
                out.write(os.read(self.fd, 65536))


class World:
    def __init__(self, stack):
        self.stack = stack
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-chaos-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        os.chmod(self.folder, 0o755)
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", self.disk], check=True)
        stack.callback(subprocess.run, ["umount", "-l", self.disk], check=False)
        self.net = self._keep(netns.Network("tabard-chaos", [*SIDECARS, "policy", "outside"]))
        self.clocks = {name: self._keep(Clock()) for name in (*SIDECARS, "policyd")}
        self.logs, self.agents = {}, {}
        self.is_open = False  # whether stranger may call web
        self.num_changes = 0
        self._start_policyd()
        for name in SIDECARS:
            self._start_sidecar(name)

    def _keep(self, thing):
        self.stack.callback(thing.close)
        return thing

    def fleet(self):
        return {"workloads": [workload(name, self.net[name].ipv4, certificate_seconds=LIFE_S) for name in SIDECARS]
                + [workload(f"change-{self.num_changes}")],
                "policies": [allow("web-calls-api", spiffe("api"), spiffe("web"), ports=[SERVICE_PORT]),
                             *([allow("stranger-calls-web", spiffe("web"), spiffe("stranger"))] if self.is_open else [])]}

    def _start_policyd(self):
        folder = self.disk / "policyd"
        folder.mkdir()
        run("tabard-ca", "init", "--dir", folder / "ca", "--trust-domain", DOMAIN)
        (folder / "fleet").mkdir()
        self.policyd = Policyd(self.fleet(), folder=folder, netns=self.net["policy"], start=False,
                               listen=f"{self.net['policy'].ipv4}:{POLICY_PORT}")
        self.policyd.log_path = self.folder / "policyd.log"
        self.policyd.log_path.touch()
        self.logs["policyd"] = SlowLog(self.folder, "policyd", self.policyd.log_path)
        self.policyd.prefix = [*self.clocks["policyd"].prefix, *self.logs["policyd"].prefix]
        self.stack.callback(lambda: self.policyd.process.kill())
        self.policyd.start()

    def _start_sidecar(self, name):
        host = self.net[name]
        token = self._bring_token(name)
        config = {
            "policy_agent": {"address": f"{self.net['policy'].ipv4}:{POLICY_PORT}",
                             "identity": f"spiffe://{DOMAIN}/tabard/policyd", "roots": str(self.policyd.folder / "ca/ca.pem"),
                             "join_token": str(token), "node_id": name, "addresses": [host.ipv4],
                             "state": str(self.disk / f"{name}.state")},
            "inbound_ports": [{"port": SERVICE_PORT, "mode": "MTLS"}],
            "settings": {"interception": {}, "drain_seconds": 1},
        }
        host.run(PROGRAMS["tabardctl"], "intercept", "up", "--exclude-outbound-ports", POLICY_PORT)
        agent = Agent(name, config, netns=host, start=False)
        self.stack.callback(agent.close)
        self.logs[name] = SlowLog(self.folder, name, agent.log_path)
        agent.prefix = [*self.clocks[name].prefix, *self.logs[name].prefix]
        agent.proxy_prefix = self.clocks[name].prefix
        self.agents[name] = agent
        agent.start()

    def _bring_token(self, name):
        """A join token admits once; whoever starts a sidecar anew brings another."""
        token = self.folder / f"{name}.token"
        token.write_text(self.policyd.token(name))
        return token

    # What is asked of it between two events.

    def why_not_ready(self, name):
        try:
            status, text = self.agents[name].http("health", "/healthz/ready")
            return "" if status == 200 else text.strip()
        except OSError as error:
            return repr(error)

    def wait_ready(self):
        for name in SIDECARS:
            try:
                wait_until(f"{name} is ready", lambda: not self.why_not_ready(name), BACK_S)
            except Missing as missing:
                raise Missing(f"{missing}; it says: {self.why_not_ready(name)}") from None

    def wait_followed(self):
        for name in SIDECARS:
            wait_until(f"{name} follows policyd", lambda: self.agents[name].metric("tabard_policy_agent_connected") == 1, BACK_S)

    def change_policy(self):
        """Turns stranger's access to web over, which is how control shows that it came back."""
        self.is_open = not self.is_open
        self.num_changes += 1
        self.policyd.write("fleet", self.fleet())

    def restart(self, thing):
        """Starts a program again that has ended, as a service manager does."""
        if thing is self.policyd:
            thing.start()
        else:
            self._bring_token(thing.name)
            thing.start(wait=False)

    def pids(self, name):
        """(agent, proxy) of a sidecar, as the kernel knows them."""
        agent = self.agents[name].process.pid
        with contextlib.suppress(OSError, IndexError):  # the agent, or its proxy, is not there
            return agent, int(Path(f"/proc/{agent}/task/{agent}/children").read_text().split()[0])
        return agent, None
