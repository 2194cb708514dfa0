# SPDX-License-Identifier: Apache-2.0
"""What passed by a sidecar while its rules were away is counted and goes on no longer; what it carried does. Root only."""
import signal

import pytest

from mesh import connect, exchange
from watched_host import UNPRIVILEGED, host  # noqa: F401 (a fixture)


def test_connections_that_the_sidecar_carries_or_that_were_there_before_up_are_not_counted_as_passed(host):
    agent = host.start(up=False)
    host.agent.config["policies"] = [{"name": "all", "action": "ALLOW", "mode": "ENFORCE", "rules": [{"source_ips": ["10.77.0.0/16", "fd77::/64"]}]}]
    host.agent.config["inbound_ports"] = [{"port": 8080, "mode": "PERMISSIVE"}]
    host.agent.config["settings"]["unlisted_outbound"] = "PLAINTEXT"
    agent.apply()
    before = [connect((host.netns.ipv4, 8080), host.stranger), connect((host.stranger.ipv6, 8080), host.netns)]
    host.up()
    carried = [connect((called, 8080), caller) for caller, called in
               ((host.stranger, host.netns.ipv4), (host.stranger, host.netns.ipv6), (host.netns, host.stranger.ipv4), (host.netns, host.stranger.ipv6))]
    for sock in carried:
        assert exchange(sock, b"carried") == b"carried"
    host.nft("flush", "ruleset")
    host.wait_counted("put_back", 1)
    assert agent.metric("tabard_interception_passed_total") == 0
    for sock in carried:
        assert exchange(sock, b"still") == b"still"
    for sock in (*before, *carried):
        sock.close()


FIREWALL = "table inet firewall { chain input { type filter hook input priority 0; ct state established accept; }; }"


@pytest.mark.parametrize("firewall, by", [(None, "agent"), (FIREWALL, "agent"), (FIREWALL, "operator")],
                         ids=["alone", "beside a firewall that tracks connections", "by an operator beside a firewall"])
def test_connections_that_passed_by_end_once_the_rules_are_back(host, firewall, by):
    """Their next byte meets the sidecar, which knows nothing of them: what passed goes on no longer."""
    agent = host.start(prefix=UNPRIVILEGED if by == "operator" else [])
    if firewall:
        host.nft(firewall)
    agent.process.send_signal(signal.SIGSTOP)
    try:
        host.nft("delete", "table", "inet", "tabard")
        inbound = connect((host.netns.ipv4, 8080), host.stranger)
        outbound = connect((host.stranger.ipv4, 8080), host.netns)
        assert exchange(inbound, b"in") == b"in" and exchange(outbound, b"out") == b"out"
    finally:
        agent.process.send_signal(signal.SIGCONT)
    if by == "operator":
        host.wait_state("lost")
        host.up()
    else:
        host.wait_counted("put_back", 1)
    assert agent.metric("tabard_interception_passed_total") == 2
    for sock in (inbound, outbound):
        with sock, pytest.raises(OSError):
            sock.settimeout(5)
            assert exchange(sock, b"and on?") == b""
            raise ConnectionResetError
