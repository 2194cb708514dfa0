# SPDX-License-Identifier: Apache-2.0
"""Two plain HTTP services in two network namespaces talk through two sidecars and never notice: ./dev demo

Every line is a claim that was just tried, with its figure. The exit code is 0 only if all of them held. What it makes
(namespaces, programs, files) is gone at the end, also after Ctrl-C.
"""
import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "e2e")]

import netns  # noqa: E402
from ca import Authority  # noqa: E402
from mesh import API, DOMAIN, PROGRAMS, STRANGER, WEB, Agent, connect, is_reset_or_closed, wait_until  # noqa: E402
from pair import allow, bundles, identity  # noqa: E402
from wire import Capture, num_tls_1_3  # noqa: E402

SECRET = "four-thousand-doubloons"
NUM_ROTATIONS = 50
FAMILIES = {"IPv4": "ipv4", "IPv6": "ipv6"}
IS_TERMINAL = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def paint(code, text):
    return f"\x1b[{code}m{text}\x1b[0m" if IS_TERMINAL else text


def url(host, path="/"):
    return f"http://{host if ':' not in host else f'[{host}]'}:8080{path}"


class Claims:
    """What is shown to hold, line by line."""

    def __init__(self):
        self.num_held = self.num_failed = 0

    def section(self, text):
        print(f"\n{paint(1, text)}", flush=True)

    @contextlib.contextmanager
    def claim(self, text):
        """The block appends its figures to the list it is given; an exception in it is the claim's failure."""
        figures = []
        try:
            yield figures
        except Exception as error:  # whatever it was, the claim did not hold, and the next ones are still worth trying
            self.num_failed += 1
            print(f"  {paint(31, '✘')} {text}\n      {paint(31, str(error).strip() or repr(error))}", flush=True)
        else:
            self.num_held += 1
            print(f"  {paint(32, '✔')} {text:<58} {paint(36, ', '.join(figures))}", flush=True)


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


class Load:
    """Requests one after the other, each on a new connection, from one thread per address."""

    def __init__(self, network, hosts):
        self.num_done, self.failures, self.over = 0, [], threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(network, host)) for host in hosts]
        for thread in self.threads:
            thread.start()

    def _run(self, network, host):
        with network["shop"].entered():
            while not self.over.is_set():
                try:
                    call = http.client.HTTPConnection(host, 8080, timeout=10)
                    call.request("GET", "/")
                    reply = call.getresponse()
                    expect(reply.status == 200 and SECRET in reply.read().decode(), f"status {reply.status}")
                    call.close()
                    self.num_done += 1
                except (OSError, http.client.HTTPException, AssertionError) as error:
                    self.failures.append(repr(error))

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Demo:
    def __init__(self, stack, claims):
        self.stack, self.claims = stack, claims
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-demo-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.net = self._keep(netns.Network("tabard-demo", ["shop", "payments", "lobby", "street"]))
        self.ours = self._keep(Authority(DOMAIN))
        self.foreign = self._keep(Authority("other.example"))
        for name in ("shop", "payments"):
            self._start_service(name)
        self.shop = self._start_sidecar("shop", WEB, API)
        self.payments = self._start_sidecar("payments", API, WEB)
        self.lobby = self._start_sidecar("lobby", STRANGER, API)

    def _keep(self, thing):
        self.stack.callback(thing.close)
        return thing

    def _start_service(self, name):
        """A plain HTTP server that knows nothing of TLS: Python's own, one for each family."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "index.html").write_text(f"{name} owes you {SECRET}\n")
        host = self.net[name]
        for address in (host.ipv4, host.ipv6):
            process = subprocess.Popen(
                host.command(["setpriv", "--pdeathsig", "KILL", "/usr/bin/python3", "-m", "http.server", "8080", "--bind", address,
                              "--directory", str(folder)]),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.stack.callback(process.wait)
            self.stack.callback(process.kill)
            wait_until(f"{name} listens on {address}", lambda to=address: self._accepts(host, to))

    @staticmethod
    def _accepts(host, address):
        with contextlib.suppress(OSError):
            connect((address, 8080), host).close()
            return True

    def _start_sidecar(self, name, spiffe_id, caller):
        config = {
            "identity": identity(self.ours.issue(name, spiffe_id)),
            "trust_bundles": bundles(self.ours),
            "inbound_ports": [{"port": 8080, "mode": "MTLS"}],
            "policies": [allow(f"{name}-is-called", caller)],
            "destinations": [{"name": "mesh", "addresses": ["10.77.0.0/16", "fd77::/64"], "mode": "MTLS",
                              "identities": [f"spiffe://{DOMAIN}"]}],
            "settings": {"interception": {}, "drain_seconds": 1},
        }
        agent = self._keep(Agent(name, config, netns=self.net[name]))
        self.net[name].run(PROGRAMS["tabardctl"], "intercept", "up")
        return agent

    def address(self, name, family):
        return getattr(self.net[name], FAMILIES[family])

    def curl(self, name, to, path="/"):
        """A plain HTTP call as the service itself would make it: (exit code, status, seconds, body)."""
        done = self.net[name].run("curl", "-s", "-g", "--max-time", "10", "-w", "\n%{http_code} %{time_total}", url(to, path),
                                  check=False)
        body, _, figures = done.stdout.rpartition("\n")
        status, seconds = figures.split()
        return done.returncode, int(status), float(seconds), body

    def openssl(self, to, certificate):
        """`openssl s_client` from the street: what it was answered."""
        show = ["-cert", certificate.chain, "-key", certificate.key] if certificate else []
        host = to if ":" not in to else f"[{to}]"
        done = self.net["street"].run("openssl", "s_client", "-connect", f"{host}:8080", "-CAfile", self.ours.roots, "-quiet",
                                      "-verify_return_error", *show, input="GET / HTTP/1.0\r\n\r\n", check=False)
        return done.stdout

    # The claims, in the order of the story.

    def calls(self):
        self.claims.section("Two plain HTTP services talk")
        for family in FAMILIES:
            for caller, called in (("shop", "payments"), ("payments", "shop")):
                with self.claims.claim(f"{caller} calls {called} over {family}, with plain curl") as figures:
                    code, status, seconds, body = self.curl(caller, self.address(called, family))
                    expect(code == 0 and status == 200 and SECRET in body, f"curl: exit {code}, status {status}")
                    figures += ["200", f"{seconds * 1000:.1f} ms"]

    def wire(self):
        self.claims.section("The wire carries only TLS 1.3")
        for family in FAMILIES:
            to, num_calls = self.address("payments", family), 5
            with self.claims.claim(f"5 calls captured over {family}: nothing but TLS 1.3") as figures:
                with contextlib.ExitStack() as captures:
                    outside, inside = (Capture(where, interface, 8080, self.folder / f"{family}-{interface}.pcap")
                                       for where, interface in ((self.net.wire, "shop"), (self.net["payments"], "lo")))
                    captures.callback(outside.close)
                    captures.callback(inside.close)
                    for _ in range(num_calls):
                        self.curl("shop", to, f"/?pin={SECRET}")
                    outside.wait_over(num_calls)
                    inside.wait_over(num_calls)
                streams = outside.streams()
                yes, no = num_tls_1_3(streams)
                expect((yes, no) == (num_calls, 0), f"{yes} handshakes with TLS 1.3, {no} with another version")
                figures += [f"{yes} handshakes", f"{sum(len(stream.data()) for stream in streams.values())} bytes"]
            with self.claims.claim("the request's and the answer's text, searched for") as figures:
                seen, control = (capture.path.read_bytes().count(SECRET.encode()) for capture in (outside, inside))
                expect(control >= 2 * num_calls, f"the search finds it only {control} times where it is in the clear")
                expect(seen == 0, f"found {seen} times on the wire")
                figures += ["0 times on the wire", f"{control} times inside payments"]

    def refused(self, text, ask, reason, rule=None):
        """A claim that `ask()` gets no answer, and that payments' sidecar logs why."""
        with self.claims.claim(text) as figures:
            mark = self.payments.mark()
            answer = ask()
            expect(SECRET not in str(answer), f"it was answered: {answer}")
            line = self.payments.wait_conn(mark, dir="inbound", reason=reason)
            figures.append(f"reason={reason}")
            if rule:
                expect(line["rule"] == rule, f"the log names rule={line['rule']}")
                figures.append(f"rule={rule}")

    def strangers(self):
        self.claims.section("Who is not on the list stays out")
        for family in FAMILIES:
            to = self.address("payments", family)
            self.refused(f"lobby's good certificate isn't listed, over {family}", lambda to=to: self.curl("lobby", to),
                         "policy_denied", "-")
            self.refused(f"a caller with no sidecar, over {family}", lambda to=to: self.curl("street", to), "plaintext_on_mtls")
            self.refused(f"openssl with no certificate, over {family}", lambda to=to: self.openssl(to, None), "no_certificate")
            self.refused(f"openssl with another trust domain's, over {family}",
                         lambda to=to: self.openssl(to, self.foreign.issue("web", "spiffe://other.example/ns/shop/sa/web")),
                         "unknown_trust_domain")
            with self.claims.claim(f"openssl with a good certificate gets in, over {family}") as figures:
                answer = self.openssl(to, self.ours.issue("guest", WEB))
                expect(SECRET in answer, f"openssl was answered: {answer!r}")
                figures.append(answer.splitlines()[0].split(" ", 1)[1])
        self.payments.config["policies"].append({"name": "lobby-stays-out", "action": "DENY", "mode": "ENFORCE", "ports": [],
                                                 "rules": [{"principals": [f"spiffe://{DOMAIN}/ns/lobby/"]}]})
        self.payments.apply()
        self.refused("a DENY for lobby, and the log line names it", lambda: self.curl("lobby", self.address("payments", "IPv4")),
                     "policy_denied", "lobby-stays-out#0")

    def rotations(self):
        self.claims.section("Certificates change, and nobody notices")
        load = Load(self.net, [self.address("payments", family) for family in FAMILIES])
        with self.claims.claim(f"{NUM_ROTATIONS} rotations of both certificates under load") as figures:
            try:
                for number in range(NUM_ROTATIONS):
                    agent, spiffe_id = ((self.shop, WEB), (self.payments, API))[number % 2]
                    agent.config["identity"] = identity(self.ours.issue(agent.name, spiffe_id))
                    agent.apply()
            finally:
                load.stop()
            figures += [f"{load.num_done} requests", f"{len(load.failures)} failed"]
            expect(not load.failures, f"{len(load.failures)} of {load.num_done} requests failed: {load.failures[:3]}")
            expect(load.num_done > NUM_ROTATIONS, f"only {load.num_done} requests were made")

    def revocation(self):
        self.claims.section("A policy is revoked while connections are open")
        for family in FAMILIES:
            to = self.address("payments", family)
            allowed = self.payments.config["policies"]
            with self.claims.claim(f"the open connection is closed, over {family}") as figures:
                with connect((to, 8080), self.net["shop"]) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\n")  # the rest of this request never comes
                    wait_until("it is open", lambda: int(self.payments.status().get("num_connections", 0)) > 0)
                    mark = self.payments.mark()
                    self.payments.config["policies"] = [allow("payments-is-called", f"{WEB}-2")]
                    started = time.monotonic()
                    self.payments.write_config()
                    expect(is_reset_or_closed(sock), "it is still open")
                    took = time.monotonic() - started
                self.payments.wait_conn(mark, dir="inbound", reason="policy_revoked")
                figures += [f"{took * 1000:.0f} ms after the file changed", "reason=policy_revoked"]
            self.refused("and no new one gets in", lambda to=to: self.curl("shop", to), "policy_denied", "-")
            with self.claims.claim("until the policy is back") as figures:
                self.payments.config["policies"] = allowed
                self.payments.apply()
                figures.append(str(self.curl("shop", to)[1]))
                expect(figures == ["200"], f"status {figures}")


PICTURE = """
  shop                                                                  payments
  curl --- plain ---> sidecar ======== mutual TLS 1.3 ========> sidecar --- plain ---> http.server
  10.77.1.1, fd77::1:1            |                 |                   10.77.2.1, fd77::2:1
                                lobby             street
                  a sidecar, but not on the list   no sidecar at all
"""


def main():
    why_not = netns.why_not()
    if why_not:
        sys.exit(f"demo: {why_not}")

    def stop(number, _frame):
        raise SystemExit(f"\ndemo: stopped by {signal.Signals(number).name}, cleaned up")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    claims, started = Claims(), time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            print(PICTURE.rstrip("\n"), flush=True)
            demo = Demo(stack, claims)
            for act in (demo.calls, demo.wire, demo.strangers, demo.rotations, demo.revocation):
                act()
            if claims.num_failed:
                for agent in Agent.alive:
                    print(f"\n{agent.name} logged:\n{agent.log()[-3000:]}")
        finally:
            # The end has begun: a second Ctrl-C must not leave half of it behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
    print(f"\n{claims.num_held} held, {claims.num_failed} failed, in {time.monotonic() - started:.0f} s")
    sys.exit(1 if claims.num_failed else 0)


if __name__ == "__main__":
    main()
