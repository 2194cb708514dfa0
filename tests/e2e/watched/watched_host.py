# SPDX-License-Identifier: Apache-2.0
"""A host whose interception is watched: payments, its sidecar and rules, and lobby, a stranger."""
import contextlib

import pytest

from mesh import API, WEB, Agent, Service, connect, exchange, is_turned_away, run, wait_until
from pair import allow, bundles, identity

UNPRIVILEGED = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]


def config(authority):
    return {
        "identity": identity(authority.issue("api", API)),
        "trust_bundles": bundles(authority),
        "policies": [allow("shop-may-pay", WEB)],
        "settings": {"interception": {}, "drain_seconds": 1},
    }


class Host:
    """payments with its sidecar, and lobby, a stranger without one; each has a plain service on 8080."""

    def __init__(self, network, authority, stack):
        self.netns, self.stranger, self.stack = network["payments"], network["lobby"], stack
        self.config = config(authority)
        for netns in (self.netns, self.stranger):
            for address in (netns.ipv4, netns.ipv6):
                stack.callback(Service(address=(address, 8080), netns=netns).close)
        stack.callback(self.clean)
        self.agent = None

    def clean(self):
        run("tabardctl", "intercept", "down", netns=self.netns)
        self.netns.run("nft", "flush", "ruleset")
        self.netns.run("ip", "link", "set", "lo", "up")
        self.netns.run("ip", "link", "del", "more", check=False)

    def start(self, *flags, up=True, **how):
        self.agent = Agent("payments", self.config, netns=self.netns, **how)
        self.stack.callback(self.close, self.agent)
        if up:
            self.up(*flags)
        return self.agent

    @staticmethod
    def close(agent):
        if agent in Agent.alive:
            agent.close()

    def up(self, *flags):
        run("tabardctl", "intercept", "up", *flags, netns=self.netns)
        self.wait_state("holds")

    def nft(self, *commands):
        self.netns.run("nft", *commands)

    def ruleset(self):
        return self.netns.run("nft", "-s", "list", "ruleset").stdout

    def routes(self):
        return [line for family in ("-4", "-6") for what in (["route", "show", "table", "all", "proto", "133"], ["rule"])
                for line in self.netns.run("ip", family, *what).stdout.splitlines()]

    def state(self):
        return self.agent.status()["interception"]

    def wait_state(self, state, seconds=3):
        return wait_until(f"interception is {state}: {self.state()}", lambda: self.state()["state"] == state and self.state(), seconds)

    def wait_counted(self, name, least, seconds=3):
        wait_until(f"{name} reaches {least}: {self.state()}", lambda: int(self.state().get(name, 0)) >= least, seconds)

    def ready(self):
        return self.agent.http("health", "/healthz/ready")

    def catches(self):
        """Whether the stranger is kept out, and the service's calls to it too: nothing passes by."""
        return all(is_turned_away((theirs, 8080), caller, b"in the clear") for caller, called in
                   ((self.stranger, self.netns), (self.netns, self.stranger)) for theirs in (called.ipv4, called.ipv6))

    def passes(self):
        with connect((self.netns.ipv4, 8080), self.stranger, 3) as sock:
            return exchange(sock, b"in the clear") == b"in the clear"


@pytest.fixture
def host(network, authority):
    with contextlib.ExitStack() as stack:
        yield Host(network, authority, stack)
