# SPDX-License-Identifier: Apache-2.0
"""One policy agent steers five sidecars, each in a network namespace of its own: ./dev demo fleet

Every line is a claim that was just tried, with the milliseconds from the change to its enforcement. The exit code is 0 only
if all of them held. What it makes (namespaces, programs, files) is gone at the end, also after Ctrl-C.
"""
import contextlib
import http.client
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("e2e", "interop", "demo")]

import netns  # noqa: E402
from claims import Claims, expect  # noqa: E402
from demo import Load, SECRET, begin  # noqa: E402
from mesh import DOMAIN, PROGRAMS, Agent, connect, is_reset_or_closed, run, wait_until  # noqa: E402
from policyd_process import Policyd, allow, spiffe, workload  # noqa: E402

SIDECARS = ["shop", "payments", "ledger", "lobby", "newcomer"]
PORT = 15012
PICTURE = """
                        tabard-policyd  10.77.6.1:15012
                     fleet/*.yaml, ca/, tokens/, registry/
          .----------.---------.---------.----------.
        shop     payments    ledger    lobby     newcomer        a service and a sidecar each
"""


class Fleet:
    def __init__(self, stack):
        self.stack = stack
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-demo-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.net = self._keep(netns.Network("tabard-fleet", [*SIDECARS, "policy"]))
        self.spec = {"workloads": [workload(name, f"{self.net[name].ipv4}") for name in SIDECARS],
                     "policies": [allow("payments-is-called", spiffe("payments"), spiffe("shop"), ports=[8080]),
                                  allow("ledger-is-called", spiffe("ledger"), spiffe("payments"), spiffe("shop")),
                                  allow("newcomer-is-called", spiffe("newcomer"), spiffe("shop"))]}
        self.policyd = self._keep(Policyd(self.spec, netns=self.net["policy"], listen=f"{self.net['policy'].ipv4}:{PORT}"))
        self.agents = {}
        for name in SIDECARS:
            self._start_service(name)

    def _keep(self, thing):
        self.stack.callback(thing.close)
        return thing

    def _start_service(self, name):
        """A plain HTTP server that knows nothing of TLS."""
        folder, host = self.folder / name, self.net[name]
        folder.mkdir()
        (folder / "index.html").write_text(f"{name} owes you {SECRET}\n")
        process = subprocess.Popen(
            host.command(["setpriv", "--pdeathsig", "KILL", "/usr/bin/python3", "-m", "http.server", "8080", "--bind", host.ipv4,
                          "--directory", str(folder)]),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        wait_until(f"{name} listens", lambda: self._accepts(host))

    @staticmethod
    def _accepts(host):
        with contextlib.suppress(OSError):
            connect((host.ipv4, 8080), host).close()
            return True

    def start_sidecar(self, name, wait=True):
        """A sidecar that knows nothing but where its policy agent is, what proves it, and a join token."""
        token = self.folder / f"{name}.token"
        token.write_text(self.policyd.token(name))
        host = self.net[name]
        config = {
            "policy_agent": {"address": f"{self.net['policy'].ipv4}:{PORT}", "identity": f"spiffe://{DOMAIN}/tabard/policyd",
                             "roots": str(self.policyd.folder / "ca/ca.pem"), "join_token": str(token), "node_id": name,
                             "addresses": [host.ipv4], "state": str(self.folder / f"{name}.state")},
            "inbound_ports": [{"port": 8080, "mode": "MTLS"}],
            "settings": {"interception": {}, "drain_seconds": 1},
        }
        host.run(PROGRAMS["tabardctl"], "intercept", "up", "--exclude-outbound-ports", PORT)
        agent = self._keep(Agent(name, config, netns=host, start=False))
        agent.start(wait=wait)
        self.agents[name] = agent
        return agent

    def call(self, caller, called, seconds=2):
        """The status of a plain HTTP call as the service itself would make it, or None."""
        try:
            with self.net[caller].entered():
                connection = http.client.HTTPConnection(self.net[called].ipv4, 8080, timeout=seconds)
                connection.connect()
            connection.request("GET", "/")
            reply = connection.getresponse()
            return reply.status if SECRET in reply.read().decode() else None
        except (OSError, http.client.HTTPException):
            return None

    def serials(self, name):
        """The serial numbers of a workload's certificates, oldest first."""
        lines = (self.policyd.folder / "ca/issued").read_text().splitlines()
        return [line.split()[0] for line in lines if line.split()[2] == spiffe(name)]


def ms_since(started):
    return f"{(time.monotonic() - started) * 1000:.0f} ms"


def identities(fleet, claims):
    claims.section("Identities, from nothing but a join token each")
    for name in SIDECARS[:-1]:
        with claims.claim(f"{name} has its certificate and its policies in force") as figures:
            started = time.monotonic()
            fleet.start_sidecar(name)
            figures.append(f"{ms_since(started)} after its start")
            line = fleet.policyd.wait_line(msg="issued", id=spiffe(name))
            figures.append(f"good for {int(line['not_after']) - int(time.time())} s")
    with claims.claim("shop calls payments") as figures:
        wait_until("it is answered", lambda: fleet.call("shop", "payments") == 200)
        figures.append("200")
    with claims.claim("lobby, with as good a certificate, may not") as figures:
        mark = fleet.agents["lobby"].mark()
        expect(fleet.call("lobby", "payments") is None, "it was answered")
        line = fleet.agents["lobby"].wait_conn(mark, dir="outbound")
        figures.append(f"reason={line['reason']}: it isn't even told where payments is")


def newcomer(fleet, claims):
    claims.section("A workload comes")
    with claims.claim("newcomer is reachable from shop, which was there before") as figures:
        expect(fleet.call("shop", "newcomer") is None, "it was answered before")
        started = time.monotonic()
        fleet.start_sidecar("newcomer", wait=False)
        wait_until("it is answered", lambda: fleet.call("shop", "newcomer") == 200)
        figures.append(f"{ms_since(started)} after its sidecar's start")
        fleet.agents["newcomer"].wait_in_force(0)
    with claims.claim("its token admits nobody else") as figures:
        used = fleet.policyd.folder / "tokens/used"
        figures.append(f"{len(list(used.iterdir()))} used up, {len(list(used.parent.iterdir())) - 1} left")
        expect(figures == [f"{len(SIDECARS)} used up, 0 left"], figures[0])


def policy(fleet, claims):
    claims.section("A policy changes")
    before = fleet.spec["policies"][0]
    with claims.claim("shop's open connection to payments is closed") as figures, \
            connect((fleet.net["payments"].ipv4, 8080), fleet.net["shop"]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")  # the rest of this request never comes
        wait_until("it is open", lambda: int(fleet.agents["payments"].status().get("num_connections", 0)) > 0)
        mark = fleet.agents["shop"].mark()
        fleet.spec["policies"][0] = allow("payments-is-called", spiffe("payments"), spiffe("ledger"), ports=[8080])
        started = time.monotonic()
        fleet.policyd.write("fleet", fleet.spec)
        expect(is_reset_or_closed(sock), "it is still open")
        figures.append(f"{ms_since(started)} after the file changed")
        figures.append(f"reason={fleet.agents['shop'].wait_conn(mark, dir='outbound')['reason']}")
    with claims.claim("and no new one gets through") as figures:
        mark = fleet.agents["shop"].mark()
        expect(fleet.call("shop", "payments") is None, "it was answered")
        figures.append(f"reason={fleet.agents['shop'].wait_conn(mark, dir='outbound')['reason']}")
    with claims.claim("a slip in a file changes nothing") as figures:
        mark = fleet.policyd.mark()
        fleet.policyd.write("slip", {"policies": [{"targets": [spiffe("payments")], "policy": {"name": "slip", "action": "ALOW"}}]})
        figures.append(fleet.policyd.wait_line(mark, msg="update refused")["error"][:70])
        (fleet.policyd.folder / "fleet/slip.yaml").unlink()
    with claims.claim("until the policy is back") as figures:
        fleet.spec["policies"][0] = before
        started = time.monotonic()
        fleet.policyd.write("fleet", fleet.spec)
        wait_until("it is answered", lambda: fleet.call("shop", "payments") == 200)
        figures.append(f"{ms_since(started)} after the file changed")


def restart(fleet, claims):
    claims.section("The policy agent is killed, and comes back")
    load = Load(fleet.net, [fleet.net["payments"].ipv4])
    with claims.claim("calls go on meanwhile") as figures:
        try:
            fleet.policyd.stop(signal.SIGKILL)
            done = load.num_done
            wait_until("500 calls without a policy agent", lambda: load.num_done - done > 500, 30)
            mark, started = fleet.policyd.mark(), time.monotonic()
            fleet.policyd.start()
            wait_until("every sidecar is back", lambda: len({line["id"] for line in fleet.policyd.lines(mark, msg="admitted")})
                       == len(SIDECARS), 30)
            took = ms_since(started)
            done = load.num_done
            wait_until("100 calls more", lambda: load.num_done - done > 100, 30)
        finally:
            load.stop()
        figures += [f"{load.num_done} calls", f"{len(load.failures)} failed", f"all five back {took} after its start"]
        expect(not load.failures, f"{len(load.failures)} of {load.num_done} calls failed: {load.failures[:3]}")


def revocation(fleet, claims):
    claims.section("A certificate is revoked")
    with claims.claim("shop's open connection to ledger is closed") as figures, \
            connect((fleet.net["ledger"].ipv4, 8080), fleet.net["shop"]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        wait_until("it is open", lambda: int(fleet.agents["ledger"].status().get("num_connections", 0)) > 0)
        mark, log = fleet.agents["ledger"].mark(), fleet.policyd.mark()
        started = time.monotonic()
        for serial in fleet.serials("shop"):
            run("tabard-ca", "revoke", "--dir", fleet.policyd.folder / "ca", "--serial", serial)
        expect(is_reset_or_closed(sock), "it is still open")
        figures.append(f"{ms_since(started)} after `tabard-ca revoke` began")
        figures.append(f"reason={fleet.agents['ledger'].wait_conn(mark, dir='inbound')['reason']}")
    with claims.claim("no new one gets through") as figures:
        expect(fleet.call("shop", "payments") is None, "it was answered")
        figures.append("refused")
    with claims.claim("and the policy agent knows shop no more") as figures:
        figures.append(fleet.policyd.wait_line(log, msg="stream ended", id=spiffe("shop"))["reason"])
        expect(figures == ["revoked"], figures[0])


def main():
    begin()
    claims, started = Claims(), time.monotonic()
    with contextlib.ExitStack() as stack:
        print(PICTURE.rstrip("\n"), flush=True)
        fleet = Fleet(stack)
        try:
            for chapter in (identities, newcomer, policy, restart, revocation):
                chapter(fleet, claims)
        except BaseException:
            for agent in fleet.agents.values():
                print(f"--- {agent.name} logged\n{agent.log()[-2000:]}", file=sys.stderr)
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # what cleans up is not stopped again
    print(f"\n{claims.num_held} claims held, {claims.num_failed} failed, in {time.monotonic() - started:.0f} s", flush=True)
    return 1 if claims.num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
