# SPDX-License-Identifier: Apache-2.0
"""Two hosts with a sidecar each, for applications that know nothing of it: identities and policies change all the while."""
import collections
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "e2e")]

from ca import Authority  # noqa: E402
from mesh import API, DOMAIN, PROGRAMS, STRANGER, WEB, Agent, wait_until  # noqa: E402
from netns import Network  # noqa: E402
from pair import bundles, identity  # noqa: E402

ROTATION_S = 1
NUM_CERTIFICATES = 5  # of each host, in turn
IDS = {"client": WEB, "server": API}


class World:
    """`client` and `server`: namespaces, sidecars (`agents`), and processes in them. Interception goes on and off."""

    def __init__(self):
        self.authority = Authority(DOMAIN)
        self.network = Network("tabard-apps", list(IDS))
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-apps-"))
        self.folder.chmod(0o755)
        self.certificates = {name: [self.authority.issue(f"{name}-{i}", IDS[name]) for i in range(NUM_CERTIFICATES)] for name in IDS}
        self.source, self.num_rotations, self.num_checks = "SIDECAR", 0, 0
        self.ends = collections.Counter()
        self.apps = collections.Counter()
        self.lock, self.over, self.processes, self.agents = threading.Lock(), threading.Event(), [], {}
        for name in IDS:
            more = ["--caller-addresses"] if name == "server" else []
            self.agents[name] = Agent(f"apps-{name}", self._config(name), netns=self.network[name], arguments=more)
        self.is_on = False
        self.rotator = threading.Thread(target=self._rotate, daemon=True)
        self.rotator.start()

    def _config(self, name):
        """The next configuration of a host: another certificate each time, and one more policy or one less."""
        number = self.num_rotations
        policies = [{"name": "both-may-come", "action": "ALLOW", "mode": "ENFORCE", "rules": [{"principals": [WEB, API]}]}]
        if number % 2:
            policies.append({"name": f"nobody-{number}", "action": "DENY", "mode": "ENFORCE", "ports": [9],
                             "rules": [{"principals": [STRANGER]}]})
        return {"identity": identity(self.certificates[name][number % NUM_CERTIFICATES]), "trust_bundles": bundles(self.authority),
                "policies": policies,
                "destinations": [{"name": other, "addresses": [self.network[other].ipv4, self.network[other].ipv6], "mode": "MTLS",
                                  "identities": [IDS[other]]} for other in IDS],
                "settings": {"interception": {}, "drain_seconds": 1} |
                            ({"service_source": {"mode": self.source}} if name == "server" else {})}

    def _rotate(self):
        while not self.over.wait(ROTATION_S):
            with self.lock:
                self._renew()

    def _renew(self):
        self.num_rotations += 1
        for name, agent in self.agents.items():
            agent.config = self._config(name)
            agent.write_config()

    def show_callers_as(self, source):
        """Whom a service sees as its caller: SIDECAR or CALLER (docs/addresses.md)."""
        with self.lock:
            self.source = source
            marks = {name: agent.mark() for name, agent in self.agents.items()}
            self._renew()
            for name, agent in self.agents.items():
                agent.wait_in_force(marks[name])

    def intercept(self, is_on):
        for name in IDS:
            flags = ["--caller-addresses"] if is_on and name == "server" else []
            self.network[name].run(PROGRAMS["tabardctl"], "intercept", "up" if is_on else "down", *flags)
        self.is_on = is_on

    def run(self, host, *command, user=None, check=True, timeout=120, **more):
        """Runs a program on a host to its end. Its output is one text, of bytes unless text is asked for."""
        done = subprocess.run(self._command(host, command, user), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                              cwd=self.folder, **({} if "input" in more else {"stdin": subprocess.DEVNULL}), **({"text": True} | more))
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-3000:]}")
        return done

    def _command(self, host, command, user):
        run_as = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"] if user else []
        return self.network[host].command([*run_as, *map(str, command)])

    def start(self, host, name, port, *command, user=None):
        """Starts a server and waits until it listens."""
        log_path = self.folder / f"{name}.log"
        with open(log_path, "wb") as log:
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self._command(host, command, user)], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        self.processes.append(process)

        def listens():
            assert process.poll() is None, f"{name} ended {process.returncode}:\n{log_path.read_text(errors='replace')[-3000:]}"
            return self.network[host].run("ss", "-Hltn", f"sport = :{port}").stdout
        wait_until(f"{name} listens on {port}", listens, 60)
        return process

    def watch(self, app, work, *allowed):
        """Runs `work` through the sidecars. Every connection must end as `finished`, or in a way that is allowed."""
        marks = {name: agent.mark() for name, agent in self.agents.items()}
        result = work()
        for agent in self.agents.values():
            wait_until(f"{agent.name} has no connection left", lambda: agent.metric("tabard_connections_open") == 0, 20)
        ends = [line for name, agent in self.agents.items() for line in agent.lines(marks[name], msg="conn")]
        odd = [line for line in ends if line["reason"] not in {"finished", *allowed}]
        assert not odd, f"{len(odd)} of {len(ends)} ended otherwise, the first: {odd[:5]}"
        assert len(ends) > 1, "nothing went through the sidecars"
        for name, agent in self.agents.items():
            assert not agent.lines(marks[name], level="error"), agent.lines(marks[name], level="error")[:3]
        self.ends.update(line["reason"] for line in ends)
        self.apps[app] += len(ends)
        self.num_checks += 1
        return result

    def same(self, app, work, *allowed):
        """Runs `work` without Tabard, then watched: both must give the same. Returns it."""
        self.intercept(False)
        try:
            plain = work()
        finally:
            self.intercept(True)
        meshed = self.watch(app, work, *allowed)
        assert meshed == plain, f"with Tabard: {meshed}\nwithout: {plain}"
        return meshed

    def summary(self):
        ends = " ".join(f"{reason}={number}" for reason, number in self.ends.most_common())
        return (f"{len(self.apps)} applications, {self.num_checks} checks, {self.num_rotations} rotations, "
                f"{sum(self.ends.values())} connections ended: {ends}")

    def close(self):
        self.over.set()
        self.rotator.join()
        for process in self.processes:
            process.kill()
            process.wait()
        for agent in self.agents.values():
            agent.close()
        self.network.close()
        self.authority.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def missing(*programs):
    """Which of these programs are not installed, in words; None: all are there."""
    gone = [program for program in programs if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    return f"not installed: {', '.join(gone)}" if gone else None
