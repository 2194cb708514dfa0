# SPDX-License-Identifier: Apache-2.0
"""A wire between a sidecar and its policyd that lets nothing through, and tells nobody: both ends notice."""
import contextlib
import os
import time

import pytest

from policyd_process import Policyd, allow, spiffe, workload
from mesh import DOMAIN, Agent, wait_until
from netns import Network

if os.geteuid() != 0:
    pytest.skip("network namespaces need root", allow_module_level=True)

NOTICED_S = 60  # the kernel asks after 20 s and gives up after 45


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


def cut(ns):
    """Drops what comes and goes, without a word."""
    ns.run("nft", "add", "table", "inet", "cut")
    for hook, which in (("input", "iifname"), ("output", "oifname")):
        ns.run("nft", "add", "chain", "inet", "cut", hook, f"{{ type filter hook {hook} priority 0; }}")
        ns.run("nft", "add", "rule", "inet", "cut", hook, which, "eth0", "drop")


# It takes as long as the kernel does: nothing makes TCP's own clocks go faster.
def test_a_stream_whose_wire_is_lost_without_a_word_ends_at_both_ends_and_the_metrics_say_so_before(stack):
    net = Network("tbhalf", ["pd", "sc"])
    stack.callback(net.close)
    fleet = {"workloads": [workload("api", net["sc"].ipv4 + "/32"), workload("web")]}
    policyd = Policyd(fleet | {"policies": [allow("web-may", spiffe("api"), spiffe("web"))]}, netns=net["pd"],
                      listen="0.0.0.0:15012")
    stack.callback(policyd.close)
    token = policyd.folder / "join.token"
    token.write_text(policyd.token("api"))
    agent = Agent("api", {
        "policy_agent": {"address": f"{net['pd'].ipv4}:15012", "identity": f"spiffe://{DOMAIN}/tabard/policyd",
                         "roots": str(policyd.folder / "ca/ca.pem"), "join_token": str(token), "state": "state",
                         "addresses": [net["sc"].ipv4]},
        "inbound_ports": [{"port": 8080, "mode": "MTLS", "listen": "0.0.0.0:9443", "application": "127.0.0.1:8080"}],
    }, netns=net["sc"])
    stack.callback(agent.close)
    assert agent.metric("tabard_policy_agent_connected") == 1
    assert agent.metric("tabard_policy_agent_silent_seconds") <= 20
    mark, policyd_mark = agent.mark(), policyd.mark()
    cut(net["sc"])
    began = time.monotonic()
    wait_until("the agent's metrics say that it isn't answered",
               lambda: agent.metric("tabard_policy_agent_connected") == 0, NOTICED_S)
    wait_until("policyd's say that a sidecar doesn't answer",
               lambda: policyd.metrics()["streams_silent"] == 1, NOTICED_S)
    assert agent.metric("tabard_policy_agent_silent_seconds") >= 26
    assert agent.metric("tabard_policy_agent_state_age_seconds") >= 26
    assert not agent.lines(mark, msg="no stream to the policy agent")
    line = agent.wait_line(mark, NOTICED_S, msg="no stream to the policy agent")
    wait_until("policyd has no stream", lambda: policyd.metrics()["streams"] == 0, NOTICED_S)
    assert time.monotonic() - began < NOTICED_S
    assert "timed out" in line["error"]
    assert agent.metric("tabard_policy_agent_state_age_seconds") >= 45
    policyd.write("fleet", fleet | {"policies": []})
    policyd.wait_line(policyd_mark, msg="fleet in force")
    net["sc"].run("nft", "delete", "table", "inet", "cut")
    agent.wait_line(mark, 40, msg="policy agent's state in force")
    assert agent.metric("tabard_policy_agent_connected") == 1
