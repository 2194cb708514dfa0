# SPDX-License-Identifier: Apache-2.0
"""A caller and a called sidecar that a real policyd steers."""
import contextlib
import os

from policyd import API, CALLER, Policyd, allow, workload
from mesh import DOMAIN, Agent, Service, connect, exchange, free_port, run

QUESTION = b"through two sidecars"


class Pair:
    """A caller and a called sidecar, which have nothing but the policy agent."""

    def __init__(self, stack, *, caller_by_token=False, clocks=None, key="p256", caller=None, api=None):
        """clocks: of `policyd`, `api` and `caller`, where theirs are not the test's own. key: of the CA. caller, api: more of
        their policy_agent."""
        self.prefixes = {name: clock.prefix for name, clock in (clocks or {}).items()}
        self.policyd = Policyd({}, start=False, prefix=self.prefixes.get("policyd", ()), key=key)
        stack.callback(self.policyd.close)
        service = Service()
        stack.callback(service.close)
        # The port that the fleet speaks of is the one that the called sidecar listens on.
        port = free_port()
        uid = {"unix_uids": [os.getuid()]}
        self.policyd.write("fleet", {"workloads": [workload("caller", **({} if caller_by_token else uid)),
                                                   workload("api", "127.0.0.1/32", ports=[port], **uid)],
                                     "policies": [allow("api-is-called", API, CALLER)]})
        self.policyd.start()
        self.api = self.sidecar("api", api or {}, inbound_ports=[{"port": port, "mode": "MTLS", "listen": f"127.0.0.1:{port}",
                                                       "application": "%s:%d" % service.address}])
        stack.callback(self.api.close)
        access = {}
        if caller_by_token:
            token = self.policyd.folder / "join.token"
            token.write_text(self.policyd.token("caller"))
            access = {"address": "%s:%d" % self.policyd.tcp, "identity": f"spiffe://{DOMAIN}/tabard/policyd",
                      "roots": str(self.policyd.folder / "ca/ca.pem"), "join_token": str(token)}
        self.caller = self.sidecar("caller", {**access, **(caller or {})}, forwards=[{"listen": "127.0.0.1:0", "destination": f"127.0.0.1:{port}"}])
        stack.callback(self.caller.close)

    def sidecar(self, name, access=(), **more):
        said = {"address": f"unix:{self.policyd.unix}", "spiffe_id": f"spiffe://{DOMAIN}/ns/fleet/sa/{name}", "node_id": name,
                "addresses": ["127.0.0.1"], "state": str(self.policyd.folder / f"{name}.state"), **dict(access)}
        return Agent(name, {"policy_agent": said, "settings": {"drain_seconds": 1}, **more},
                     prefix=self.prefixes.get(name, ()))

    def call(self):
        with contextlib.suppress(ConnectionError), connect(self.caller.address("127.0.0.1:0")) as sock:
            return exchange(sock, QUESTION)
        return b""

    def revoke(self, serial):
        run("tabard-ca", "revoke", "--dir", self.policyd.folder / "ca", "--serial", serial)
