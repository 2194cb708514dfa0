# SPDX-License-Identifier: Apache-2.0
"""Two plain HTTP services in two network namespaces talk through two sidecars and never notice: ./dev demo

Every line is a claim that was just tried, with its figure. The exit code is 0 only if all of them held. What it makes
(namespaces, programs, files) is gone at the end, also after Ctrl-C.
"""
import contextlib
import http.client
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
from claims import Claims, expect  # noqa: E402
from mesh import API, DOMAIN, PROGRAMS, STRANGER, WEB, Agent, connect, is_reset_or_closed, wait_until  # noqa: E402
from pair import allow, bundles, identity  # noqa: E402
from wire import Capture, num_tls_1_3  # noqa: E402

SECRET = "four-thousand-doubloons"
NUM_ROTATIONS = 50
FAMILIES = {"IPv4": "ipv4", "IPv6": "ipv6"}


def url(host, path="/"):
    return f"http://{host if ':' not in host else f'[{host}]'}:8080{path}"


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

    # The claims, in the order of the story. Each holds only if it holds over IPv4 and over IPv6.

    def calls(self):
        self.claims.section("Two plain HTTP services talk")
        for caller, called in (("shop", "payments"), ("payments", "shop")):
            with self.claims.claim(f"{caller} calls {called} with plain curl") as figures:
                for family in FAMILIES:
                    code, status, seconds, body = self.curl(caller, self.address(called, family))
                    expect(code == 0 and status == 200 and SECRET in body, f"{family}: curl: exit {code}, status {status}")
                    figures.append(f"{family} 200 in {seconds * 1000:.1f} ms")

    def wire(self):
        self.claims.section("The wire carries only TLS 1.3")
        num_calls, handshakes, num_bytes, seen, control = 5, 0, 0, 0, 0
        with self.claims.claim("all that tcpdump caught of 10 calls is TLS 1.3") as figures:
            for family in FAMILIES:
                with contextlib.ExitStack() as captures:
                    outside, inside = (Capture(where, interface, 8080, self.folder / f"{family}-{interface}.pcap")
                                       for where, interface in ((self.net.wire, "shop"), (self.net["payments"], "lo")))
                    captures.callback(outside.close)
                    captures.callback(inside.close)
                    for _ in range(num_calls):
                        self.curl("shop", self.address("payments", family), f"/?pin={SECRET}")
                    outside.wait_over(num_calls)
                    inside.wait_over(num_calls)
                streams = outside.streams()
                yes, no = num_tls_1_3(streams)
                expect((yes, no) == (num_calls, 0), f"{family}: {yes} handshakes with TLS 1.3, {no} with another version")
                handshakes += yes
                num_bytes += sum(len(stream.data()) for stream in streams.values())
                seen += outside.path.read_bytes().count(SECRET.encode())
                control += inside.path.read_bytes().count(SECRET.encode())
            figures += [f"{handshakes} handshakes", f"{num_bytes} bytes"]
        with self.claims.claim("the text of request and answer is not to be found") as figures:
            expect(control >= 2 * handshakes > 0, f"the search finds it only {control} times where it is in the clear")
            expect(seen == 0, f"found {seen} times on the wire")
            figures += ["0 times on the wire", f"{control} times inside payments"]

    def refused(self, text, ask, reason, rule=None):
        """A claim that `ask(address)` gets no answer, and that payments' sidecar logs why."""
        with self.claims.claim(text) as figures:
            for family in FAMILIES:
                mark = self.payments.mark()
                answer = ask(self.address("payments", family))
                expect(SECRET not in str(answer), f"{family}: it was answered: {answer}")
                line = self.payments.wait_conn(mark, dir="inbound", reason=reason)
                expect(rule in (None, line["rule"]), f"{family}: the log names rule={line['rule']}")
            figures += [f"reason={reason}"] + ([f"rule={rule}"] if rule else [])

    def strangers(self):
        self.claims.section("Who is not on the list stays out")
        stranger = self.foreign.issue("web", "spiffe://other.example/ns/shop/sa/web")
        self.refused("lobby, with a good certificate, but not listed", lambda to: self.curl("lobby", to), "policy_denied", "-")
        self.refused("street, with no sidecar", lambda to: self.curl("street", to), "plaintext_on_mtls")
        self.refused("openssl with no certificate", lambda to: self.openssl(to, None), "no_certificate")
        self.refused("openssl with another trust domain's", lambda to: self.openssl(to, stranger), "unknown_trust_domain")
        with self.claims.claim("openssl with a good certificate gets in") as figures:
            guest = self.ours.issue("guest", WEB)
            for family in FAMILIES:
                answer = self.openssl(self.address("payments", family), guest)
                expect(SECRET in answer, f"{family}: openssl was answered: {answer!r}")
                figures.append(f"{family} {answer.splitlines()[0].split(' ', 1)[1]}")
        self.payments.config["policies"].append({"name": "lobby-stays-out", "action": "DENY", "mode": "ENFORCE",
                                                 "rules": [{"principals": [f"spiffe://{DOMAIN}/ns/lobby/"]}]})
        self.payments.apply()
        self.refused("lobby again, now that a rule names it", lambda to: self.curl("lobby", to), "policy_denied",
                     "lobby-stays-out#0")

    def rotations(self):
        self.claims.section("Certificates change, and nobody notices")
        load = Load(self.net, [self.address("payments", family) for family in FAMILIES])
        with self.claims.claim(f"{NUM_ROTATIONS} rotations of certificates under load") as figures:
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
        allowed = self.payments.config["policies"]
        with self.claims.claim("the open connection is closed") as figures, contextlib.ExitStack() as stack:
            socks = {}
            for family in FAMILIES:
                socks[family] = stack.enter_context(connect((self.address("payments", family), 8080), self.net["shop"]))
                socks[family].sendall(b"GET / HTTP/1.1\r\n")  # the rest of this request never comes
            wait_until("both are open", lambda: int(self.payments.status().get("num_connections", 0)) == len(socks))
            mark = self.payments.mark()
            self.payments.config["policies"] = [allow("payments-is-called", f"{WEB}-2")]
            started = time.monotonic()
            self.payments.write_config()
            for family, sock in socks.items():
                expect(is_reset_or_closed(sock), f"{family}: it is still open")
                figures.append(f"{family} after {(time.monotonic() - started) * 1000:.0f} ms")
            wait_until("both lines are logged", lambda: len(
                self.payments.lines(mark, msg="conn", dir="inbound", reason="policy_revoked")) == len(socks))
            figures.append("reason=policy_revoked")
        self.refused("no new one gets in", lambda to: self.curl("shop", to), "policy_denied", "-")
        with self.claims.claim("with the policy back, calls are answered again") as figures:
            self.payments.config["policies"] = allowed
            self.payments.apply()
            for family in FAMILIES:
                status = self.curl("shop", self.address("payments", family))[1]
                expect(status == 200, f"{family}: status {status}")
                figures.append(f"{family} {status}")


PICTURE = """
  shop                                                                  payments
  curl --- plain ---> sidecar ======== mutual TLS 1.3 ========> sidecar --- plain ---> http.server
  10.77.1.1, fd77::1:1            |                 |                   10.77.2.1, fd77::2:1
                                lobby             street
                  a sidecar, but not on the list   no sidecar at all

  Every line below was tried over IPv4 and over IPv6.
"""


def begin():
    """Leaves if a demo can't run here; a signal ends one through every `finally`."""
    why_not = netns.why_not()
    if why_not:
        sys.exit(f"demo: {why_not}")

    def stop(number, _frame):
        raise SystemExit(f"\ndemo: stopped by {signal.Signals(number).name}, cleaned up")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def main():
    begin()
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
