# SPDX-License-Identifier: Apache-2.0
"""Who may come in, which rule said so, and what a change of mind does to connections that are open."""
import ssl
import time

import pytest

from foreign import attempt, tls
from mesh import API, DOMAIN, STRANGER, WEB, exchange, how_it_ends, is_turned_away, wait_until
from pair import Pair, allow, serving


def rule(name, action="ALLOW", mode="ENFORCE", ports=(8080,), **facts):
    return {"name": name, "action": action, "mode": mode, "ports": list(ports), "rules": [facts]}


@pytest.fixture(scope="module")
def server(authority):
    with serving(authority) as agent:
        yield agent


@pytest.fixture(scope="module")
def web(authority):
    return authority.issue("web", WEB)


@pytest.fixture(scope="module")
def stranger(authority):
    return authority.issue("stranger", STRANGER)


def with_policies(server, *policies):
    server.config["policies"] = list(policies)
    server.apply()
    return server.address("127.0.0.1:0")


# The policies, and which of them answers web and the stranger: (gets in, rule in the log line).
DECISIONS = {
    "nothing is allowed by default": ([], (False, "-"), (False, "-")),
    "the allowlist names web": ([allow("web-may", WEB)], (True, "web-may#0"), (False, "-")),
    "the second rule counts": (
        [{**allow("both", API), "rules": [{"principals": [API]}, {"principals": [STRANGER]}]}],
        (False, "-"), (True, "both#1")),
    "a DENY wins over an ALLOW": (
        [allow("all-may", f"spiffe://{DOMAIN}"), rule("no-strangers", "DENY", principals=[STRANGER])],
        (True, "all-may#0"), (False, "no-strangers#0")),
    "an id below a path": ([allow("shop-may", f"spiffe://{DOMAIN}/ns/shop/")], (True, "shop-may#0"), (False, "-")),
    "all but one": (
        [rule("not-web", principals=[f"spiffe://{DOMAIN}"], not_principals=[WEB])], (False, "-"), (True, "not-web#0")),
    "by source address": ([rule("near", source_ips=["127.0.0.0/8"])], (True, "near#0"), (True, "near#0")),
    "by another source address": ([rule("far", source_ips=["192.0.2.0/24"], principals=[WEB])], (False, "-"), (False, "-")),
    "another port's policy": ([allow("elsewhere", WEB, ports=[9999])], (False, "-"), (False, "-")),
    "an audited DENY decides nothing": (
        [allow("web-may", WEB), rule("trial", "DENY", "AUDIT", principals=[WEB])], (True, "web-may#0"), (False, "-")),
}


@pytest.mark.parametrize("what", DECISIONS)
def test_policy_decides(server, authority, web, stranger, what):
    policies, *expected = DECISIONS[what]
    address = with_policies(server, *policies)
    for certificate, (gets_in, named) in zip((web, stranger), expected):
        mark, served = server.mark(), server.service.num_connections
        answer = attempt(address, authority, certificate)
        assert answer == (b"hello" if gets_in else "TLSV1_ALERT_ACCESS_DENIED")
        line = server.wait_conn(mark, dir="inbound", reason="finished" if gets_in else "policy_denied")
        assert line["rule"] == named
        assert server.service.num_connections == served + gets_in, "a refused peer must not reach the application"


def test_an_audited_policy_is_counted(server, authority, web):
    address = with_policies(server, allow("web-may", WEB), rule("trial", "DENY", "AUDIT", principals=[WEB]))
    before = server.metric("tabard_policy_audit_total")
    assert attempt(address, authority, web) == b"hello"
    wait_until("the audit is counted", lambda: server.metric("tabard_policy_audit_total") == before + 1)


def test_a_revoked_policy_closes_its_open_connections_and_no_others(server, authority, web, stranger, record_property):
    address = with_policies(server, allow("web-may", WEB), allow("stranger-may", STRANGER))
    with tls(address, authority, web) as neighbour, tls(address, authority, stranger) as loser:
        assert exchange(neighbour, b"hello") == exchange(loser, b"hello") == b"hello"
        mark = server.mark()
        server.config["policies"] = [allow("web-may", WEB)]
        started = time.monotonic()
        server.write_config()
        loser.settimeout(5)
        with pytest.raises(ssl.SSLError, match="ACCESS_DENIED"):  # never a clean end that looks like the application's own
            while loser.recv(100):
                pass
        took = time.monotonic() - started
        line = server.wait_conn(mark, dir="inbound", reason="policy_revoked")
        assert line["peer"] == STRANGER
        record_property("revocation_ms", round(took * 1000, 1))
        assert took < 5
        assert exchange(neighbour, b"still here") == b"still here"
        assert server.lines(mark, msg="conn", peer=WEB) == []


def test_a_revoked_connection_is_a_reset_for_both_applications(authority, keep):
    pair, ended = keep(Pair(authority)), []

    def serve(sock):
        sock.sendall(b"half an answer")
        ended.append(how_it_ends(sock))

    pair.service.handler = serve
    with pair.connect() as sock:
        assert sock.recv(100) == b"half an answer"
        pair.server.config["policies"] = [allow("nobody-here", STRANGER)]
        pair.server.apply()
        assert how_it_ends(sock) == "reset"
        wait_until("the service's connection ended", lambda: ended)
        assert ended == ["reset"]


def test_a_policy_that_still_allows_keeps_the_connection_through_many_updates(server, authority, web):
    address = with_policies(server, allow("web-may", WEB))
    with tls(address, authority, web) as sock:
        for number in range(10):
            server.config["policies"] = [allow(f"web-may-{number}", WEB), allow("other", f"{STRANGER}-{number}")]
            server.apply()
            assert exchange(sock, b"hello") == b"hello"


def test_an_outbound_destination_that_is_taken_away_ends_its_connections(authority, keep):
    pair = keep(Pair(authority))
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
        mark, server_mark = pair.client.mark(), pair.server.mark()
        del pair.client.config["destinations"]
        pair.client.apply()
        assert pair.client.wait_conn(mark, dir="outbound")["reason"] == "unlisted_destination"
        # Some stacks take a reset for a clean end: Python's ssl, unless it is told to be strict.
        line = pair.server.wait_conn(server_mark, dir="inbound")
        assert (line["reason"], line["detail"]) == ("peer_alert", "access denied")
    mark = pair.client.mark()
    assert is_turned_away(pair.client.address("127.0.0.1:0"))
    pair.client.wait_conn(mark, dir="outbound", reason="unlisted_destination")


def test_ten_thousand_policies_are_one_update_like_any_other(server, authority, web):
    many = [allow(f"p{number}", f"spiffe://{DOMAIN}/ns/n{number}/sa/x", ports=[1 + number % 60000]) for number in range(9999)]
    address = with_policies(server, *many, allow("web-may", WEB))
    assert attempt(address, authority, web) == b"hello"
