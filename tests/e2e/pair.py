# SPDX-License-Identifier: Apache-2.0
"""The two ends that most tests need, on 127.0.0.1 and without root: payments serves, shop calls."""
import contextlib
import copy

from ca import Authority
from mesh import API, DOMAIN, WEB, Agent, Service, connect, join_address

# The application's port as policies name it. The service itself listens wherever the kernel put it.
PORT = 8080
# Every test's client connects here; the kernel chooses the port.
FORWARD = "127.0.0.1:0"


def identity(certificate):
    return {"certificate": str(certificate.chain), "key": str(certificate.key)}


def bundles(authority, crls=None):
    bundle = {"trust_domain": authority.domain, "roots": str(authority.roots)}
    if crls:
        bundle["crls"] = str(crls)
    return [bundle]


def allow(name, *principals, ports=(PORT,)):
    """Without ports, the policy is for every port."""
    made = {"name": name, "action": "ALLOW", "mode": "ENFORCE", "rules": [{"principals": list(principals)}]}
    return {**made, "ports": list(ports)} if ports else made


def server_config(authority, application, *, mode="MTLS", listen="127.0.0.1:0", certificate=None, **settings):
    """The mesh.yaml of a sidecar that serves `application` on PORT."""
    return {
        "identity": identity(certificate or authority.issue("api", API)),
        "trust_bundles": bundles(authority),
        "inbound_ports": [{"port": PORT, "mode": mode, "listen": listen, "application": join_address(*application)}],
        "policies": [allow("shop-may-pay", WEB)],
        "settings": copy.deepcopy(settings),
    }


def client_config(authority, server, *, expect=(API,), spiffe_id=WEB, certificate=None, listen=FORWARD, **settings):
    """The mesh.yaml of a sidecar whose service calls `server` through a forward."""
    host, port = server
    return {
        "identity": identity(certificate or authority.issue(spiffe_id.rsplit("/", 1)[1], spiffe_id)),
        "trust_bundles": bundles(authority),
        "forwards": [{"listen": listen, "destination": join_address(host, port)}],
        "destinations": [{"name": "payments", "addresses": [host], "ports": [port], "mode": "MTLS",
                          "identities": list(expect)}],
        "settings": copy.deepcopy(settings),
    }


@contextlib.contextmanager
def serving(authority, *, handler=None, certificate=None, **settings):
    """payments' sidecar alone, for callers of its own making; `agent.service` is the application behind it."""
    with contextlib.closing(Service(handler)) as service:
        config = server_config(authority, service.address, certificate=certificate, **settings)
        with contextlib.closing(Agent("payments", config)) as agent:
            agent.service = service
            yield agent


class Pair:
    """shop -> sidecar == mutual TLS == sidecar -> payments."""

    def __init__(self, authority=None, *, handler=None, mode="MTLS", server_settings=None, client_settings=None,
                 workers=1, listen="127.0.0.1:0"):
        self.authority = authority or Authority(DOMAIN)
        self.owns_authority = authority is None
        self.service = Service(handler)
        self.server = self.client = None
        try:
            self.server = Agent("payments", server_config(self.authority, self.service.address, mode=mode, listen=listen,
                                                          **(server_settings or {})), workers=workers)
            self.client = Agent("shop", client_config(self.authority, self.inbound, **(client_settings or {})),
                                workers=workers)
        except BaseException:
            self.close()
            raise

    @property
    def inbound(self):
        """Where the serving sidecar takes mutual TLS."""
        return self.server.address(self.server.config["inbound_ports"][0]["listen"])

    def connect(self, seconds=10):
        """As the calling service: a plain connection that its sidecar takes to payments."""
        return connect(self.client.address(self.client.config["forwards"][0]["listen"]), seconds=seconds)

    def agents(self):
        return [agent for agent in (self.server, self.client) if agent]

    def close(self):
        for agent in self.agents():
            agent.close()
        self.service.close()
        if self.owns_authority:
            self.authority.close()
