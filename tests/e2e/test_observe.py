# SPDX-License-Identifier: Apache-2.0
"""Observe, then enforce: what policy denies is served, logged, counted by peer and listed; one field later it ends."""
import contextlib
import copy
import json
import socket
import ssl

import pytest

from ca import HOUR, Authority
from foreign import attempt, server_context, tls
from mesh import (API, DOMAIN, PROGRAMS, STRANGER, WEB, Agent, Service, connect, exchange, is_reset_or_closed, is_turned_away, run,
                  wait_until)
from pair import Pair, allow, bundles, identity, server_config, serving
from test_interception import plain_echo

OBSERVE = {"enforcement": "OBSERVE"}
SERVER = "127.0.0.1:0"


def audit(agent, *flags):
    return json.loads(run("tabardctl", "audit", "--json", "--admin", agent.folder / "admin.sock", *flags).stdout)


def denials(agent):
    """{(who, to, reason, policy): count}"""
    return {(one.get("peer") or one.get("source") or "-", one["destination"], one["reason"], one.get("policy", "-")): one["count"]
            for one in audit(agent).get("denials", [])}


@pytest.fixture
def observing(authority):
    with serving(authority, **OBSERVE) as server:
        yield server


def test_a_peer_that_policy_denies_is_served_logged_counted_and_ended_by_one_field(observing, authority):
    observing.config["policies"].append({"name": "no-strangers", "action": "DENY", "mode": "ENFORCE", "rules": [{"principals": [STRANGER]}]})
    observing.apply()
    where = observing.address(SERVER)
    stranger, web, api = (authority.issue(name, spiffe_id) for name, spiffe_id in (("stranger", STRANGER), ("web", WEB), ("api2", API)))
    mark = observing.mark()
    for certificate in (stranger, stranger, web, api):
        assert attempt(where, authority, certificate) == b"hello"
    lines = wait_until("every connection is logged", lambda: len(found := observing.lines(mark, msg="conn")) == 4 and found)
    assert [(line["peer"], line["rule"], line["reason"], line.get("would")) for line in lines] == [
        (STRANGER, "no-strangers#0", "finished", "policy_denied"), (STRANGER, "no-strangers#0", "finished", "policy_denied"),
        (WEB, "shop-may-pay#0", "finished", None), (API, "-", "finished", "policy_denied")]
    assert denials(observing) == {(STRANGER, "8080", "policy_denied", "no-strangers"): 2, (API, "8080", "policy_denied", "-"): 1}
    assert observing.metric("tabard_would_deny_total", reason="policy_denied") == 3
    assert observing.metric("tabard_observing") == 1
    with tls(where, authority, stranger) as denied, tls(where, authority, web) as allowed:
        assert exchange(denied, b"hello") == exchange(allowed, b"hello") == b"hello"
        observing.config["settings"]["enforcement"] = "ENFORCE"
        mark = observing.mark()
        observing.apply()
        observing.wait_conn(mark, peer=STRANGER, reason="policy_revoked", rule="no-strangers#0")
        with pytest.raises((ssl.SSLError, OSError)):
            denied.recv(100)
        assert exchange(allowed, b"hello") == b"hello"
        assert "ACCESS_DENIED" in str(attempt(where, authority, stranger)).upper()
    assert observing.metric("tabard_observing") == 0
    assert denials(observing)[STRANGER, "8080", "policy_denied", "no-strangers"] == 3  # what was seen stays to be read


def test_the_audit_is_a_table_that_tells_what_a_later_configuration_may_have_mended(observing, authority):
    where = observing.address(SERVER)
    def table(*flags):
        return run("tabardctl", "audit", "--admin", observing.folder / "admin.sock", *flags).stdout
    assert "enforcement: OBSERVE" in table() and "nothing would be denied" in table()
    assert attempt(where, authority, authority.issue("stranger", STRANGER)) == b"hello"
    line = next(line for line in table().splitlines() if STRANGER in line)
    assert line.split()[0] == "1" and line.split()[-2:] == ["8080", "policy_denied"], line
    observing.config["policies"].append(allow("strangers-may", STRANGER))
    observing.apply()
    assert "1*" in table() and "* not since the configuration in force" in table()
    assert "nothing would be denied since then" in table("--current")
    assert "OBSERVE" in run("tabardctl", "status", "--admin", observing.folder / "admin.sock").stdout


def test_workers_counts_of_one_peer_are_added_up(keep, authority):
    pair = keep(Pair(authority, workers=2, server_settings=OBSERVE))
    pair.server.config["policies"] = []
    pair.server.apply()
    for _ in range(8):
        with pair.connect() as sock:
            assert exchange(sock, b"hello") == b"hello"
    assert denials(pair.server) == {(WEB, "8080", "policy_denied", "-"): 8}


# What is never softened: who is refused, and how.
NEVER_SOFTENED = {
    "no certificate": (lambda ours, theirs: None, "no_certificate"),
    "an expired certificate": (lambda ours, theirs: ours.forge("old", STRANGER, start=-2 * HOUR, end=-HOUR), "expired"),
    "another trust domain": (lambda ours, theirs: theirs.issue("foreign", "spiffe://other.example/ns/x/sa/y"), "unknown_trust_domain"),
    "a certificate without a SPIFFE id": (lambda ours, theirs: ours.forge("nobody"), None),
}


@pytest.mark.parametrize("what", NEVER_SOFTENED)
def test_a_client_is_refused_while_observing_that_shows(observing, authority, other_authority, what):
    make, reason = NEVER_SOFTENED[what]
    mark = observing.mark()
    assert attempt(observing.address(SERVER), authority, make(authority, other_authority)) != b"hello"
    line = observing.wait_conn(mark, dir="inbound")
    assert line["reason"] not in ("finished", "policy_denied") and "would" not in line
    assert reason is None or line["reason"] == reason
    assert denials(observing) == {}


def test_a_revoked_peer_is_refused_and_ended_while_observing(keep, service):
    ours = keep(Authority(DOMAIN))
    victim = ours.issue("stranger", STRANGER)
    crl = ours.revoke(ours.issue("gone", API))
    config = server_config(ours, service.address, **OBSERVE)
    config["trust_bundles"] = bundles(ours, crl)
    server = keep(Agent("payments", config))
    with tls(server.address(SERVER), ours, victim) as sock:
        assert exchange(sock, b"hello") == b"hello"
        mark = server.mark()
        ours.revoke(victim)
        server.wait_conn(mark, dir="inbound", reason="revoked")
    mark = server.mark()
    assert attempt(server.address(SERVER), ours, victim) != b"hello"
    server.wait_conn(mark, dir="inbound", reason="revoked")


def test_a_server_of_another_identity_is_refused_while_observing(keep, authority):
    pair = keep(Pair(authority, client_settings=OBSERVE))
    pair.client.config["destinations"][0]["identities"] = [STRANGER]
    pair.client.apply()
    mark = pair.client.mark()
    assert is_turned_away(pair.client.address(pair.client.config["forwards"][0]["listen"]))
    pair.client.wait_conn(mark, dir="outbound", reason="wrong_identity")


def test_an_audited_deny_is_listed_in_either_mode(keep, authority):
    with serving(authority) as server:
        server.config["policies"].append({"name": "trial", "action": "DENY", "mode": "AUDIT", "rules": [{"principals": [WEB]}]})
        server.apply()
        assert attempt(server.address(SERVER), authority, authority.issue("web", WEB)) == b"hello"
        assert denials(server) == {(WEB, "8080", "audit_policy", "trial"): 1}
        assert "ENFORCE" in run("tabardctl", "audit", "--admin", server.folder / "admin.sock").stdout


def test_the_audit_of_no_agent_is_an_error(tmp_path):
    done = run("tabardctl", "audit", "--admin", tmp_path / "nobody.sock", check=False)
    assert done.returncode == 1 and "nobody.sock" in done.stderr


EXPLAINED = """
settings: {enforcement: %s}
trust_bundles: [{trust_domain: demo.example, roots: x}]
inbound_ports: [{port: 443, mode: MTLS}]
policies:
  - {name: web-may, action: ALLOW, mode: ENFORCE, rules: [{principals: [spiffe://demo.example/ns/shop/sa/web]}]}
  - {name: no-strangers, action: DENY, mode: ENFORCE, rules: [{principals: [spiffe://demo.example/ns/lobby/sa/stranger]}]}
destinations: [{name: db, addresses: [10.0.0.1], ports: [5432], mode: PLAINTEXT}]
"""
# The question; whether ENFORCE denies, and whether OBSERVE does.
QUESTIONS = {
    ("--from", WEB, "--source", "10.1.2.3", "--port", "80"): (False, False),
    ("--from", STRANGER, "--source", "10.1.2.3", "--port", "80"): (True, False),
    ("--from", API, "--source", "10.1.2.3", "--port", "443"): (True, False),
    ("--from", "none", "--source", "10.1.2.3", "--port", "80"): (True, False),
    ("--from", "none", "--source", "10.1.2.3", "--port", "443"): (True, True),
    ("--from", "spiffe://other.example/x", "--source", "10.1.2.3", "--port", "80"): (True, True),
    ("--to", "10.0.0.1:5432"): (False, False),
    ("--to", "10.0.0.2:5432"): (True, False),
}


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_explain_says_what_each_mode_would_do(tmp_path, question):
    enforce_denies, observe_denies = QUESTIONS[question]
    for mode in ("ENFORCE", "OBSERVE"):
        (tmp_path / "mesh.yaml").write_text(EXPLAINED % mode)
        done = run("tabardctl", "explain", "--config", tmp_path / "mesh.yaml", *question, check=False)
        assert done.returncode == (3 if (enforce_denies if mode == "ENFORCE" else observe_denies) else 0), done
        assert ("denied:" in done.stdout) == enforce_denies, done
        assert ("enforcement OBSERVE denies it, too" in done.stdout) == observe_denies, done
        assert ("would be served, and counted" in done.stdout) == (mode == "ENFORCE" and enforce_denies and not observe_denies), done
        assert ("served all the same, and counted" in done.stdout) == (mode == "OBSERVE" and enforce_denies and not observe_denies), done


def test_explain_asks_a_sidecar_that_runs_as_well_as_a_file(observing):
    observing.config["policies"].append({"name": "range", "action": "ALLOW", "mode": "ENFORCE", "ports": ["8100-8199"],
                                         "rules": [{"principals": [STRANGER], "source_ips": ["127.0.0.0/8"]}]})
    observing.apply()
    for question in (("--from", WEB, "--source", "127.0.0.1", "--port", "8080"), ("--from", STRANGER, "--source", "127.0.0.1", "--port", "8150"),
                     ("--from", STRANGER, "--source", "127.0.0.1", "--port", "8200"), ("--from", "none", "--source", "10.1.2.3", "--port", "8080"),
                     ("--from", "spiffe://other.example/x", "--source", "10.1.2.3", "--port", "80"), ("--to", "10.0.0.1:80")):
        answers = [run("tabardctl", "explain", *where, *question, check=False)
                   for where in (("--admin", observing.folder / "admin.sock"), ("--config", observing.folder / "mesh.yaml"))]
        assert answers[0].stdout == answers[1].stdout != "" and answers[0].returncode == answers[1].returncode, question
    both = run("tabardctl", "explain", "--admin", "a", "--config", "b", "--to", "10.0.0.1:80", check=False)
    assert both.returncode == 2 and "one of them" in both.stderr


def test_the_rules_of_a_sidecar_are_shown_without_its_certificate(observing):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(observing.folder / "admin.sock"))
        sock.sendall(b"GET /rules HTTP/1.0\r\n\r\n")
        body = b"".join(iter(lambda: sock.recv(65536), b"")).split(b"\r\n\r\n", 1)[1]
    rules = json.loads(body)
    assert "identity" not in rules and rules["trust_bundles"] == [{"trust_domain": DOMAIN}]
    assert rules["policies"][0]["name"] == "shop-may-pay"


# With interception: what is not listed.

def greet(sock):
    sock.sendall(b"220 ready\r\n")
    plain_echo(sock)


@pytest.fixture(scope="module")
def hosts(authority, network):
    """shop and payments observe, with nothing listed but each other's 8080; lobby has no sidecar."""
    with contextlib.ExitStack() as stack:
        payments, lobby = network["payments"].ipv4, network["lobby"].ipv4
        certificate = authority.issue("api", API)
        def own_tls(sock):
            with server_context(authority, certificate, verify=False).wrap_socket(sock, server_side=True) as inner:
                plain_echo(inner)
        for port, handler, where in ((8080, plain_echo, "payments"), (2525, greet, "payments"), (8443, own_tls, "payments"),
                                     (9443, plain_echo, "payments"), (5432, plain_echo, "lobby")):
            stack.enter_context(contextlib.closing(Service(handler, address=(network[where].ipv4, port), netns=network[where])))
        agents = {}
        for name, spiffe_id in (("shop", WEB), ("payments", API)):
            config = {
                "identity": identity(authority.issue(spiffe_id.rsplit("/", 1)[1], spiffe_id)),
                "trust_bundles": bundles(authority),
                "inbound_ports": [{"port": 9443, "mode": "MTLS"}],
                "destinations": [{"name": "api", "addresses": [payments], "ports": [8080], "mode": "MTLS", "identities": [API]}],
                "settings": {"interception": {}, "drain_seconds": 1, **OBSERVE},
            }
            agents[name] = stack.enter_context(contextlib.closing(Agent(name, config, netns=network[name])))
            network[name].run(PROGRAMS["tabardctl"], "intercept", "up")
        yield agents | {"net": network, "api": payments, "db": lobby}
        for name in ("shop", "payments"):
            network[name].run(PROGRAMS["tabardctl"], "intercept", "down")


def test_between_two_hosts_nothing_breaks_and_everything_is_listed(hosts, authority):
    net, shop, payments = hosts["net"], hosts["shop"], hosts["payments"]
    with connect((hosts["api"], 8080), net["shop"]) as sock:  # listed: mutual TLS
        assert exchange(sock, b"hello") == b"hello"
    with connect((hosts["api"], 8080), net["lobby"]) as sock:  # no sidecar: plaintext
        assert exchange(sock, b"hello") == b"hello"
    with connect((hosts["db"], 5432), net["shop"]) as sock:  # unlisted
        assert exchange(sock, b"hello") == b"hello"
    with connect((hosts["api"], 2525), net["lobby"], seconds=5) as sock:  # a server that speaks first
        assert sock.recv(100) == b"220 ready\r\n"
    assert attempt((hosts["api"], 8443), authority, None, net["lobby"]) == b"hello"  # the application's own TLS
    lobby = net["lobby"].ipv4
    wanted = {(WEB, "8080", "policy_denied", "-"): 1, (lobby, "8080", "plaintext_on_mtls", "-"): 1,
              (lobby, "2525", "plaintext_on_mtls", "-"): 1, (lobby, "8443", "plaintext_on_mtls", "-"): 1}
    wait_until("payments lists who would be denied", lambda: denials(payments) == wanted)
    assert denials(shop) == {("-", f"{hosts['db']}:5432", "unlisted_destination", "-"): 1}
    mark = payments.mark()
    assert is_turned_away((hosts["api"], 9443), net["lobby"], b"GET / HTTP/1.0\r\n\r\n")  # listed as MTLS
    payments.wait_conn(mark, dir="inbound", reason="plaintext_on_mtls")
    for port, reason in ((15006, "loop"), (15001, "loop")):
        mark = payments.mark()
        assert is_turned_away((hosts["api"], port), net["lobby"], b"x")
        payments.wait_conn(mark, dir="inbound", reason=reason)


def test_turning_to_enforce_ends_what_is_denied_and_nothing_else(hosts):
    net, shop, payments = hosts["net"], hosts["shop"], hosts["payments"]
    before = {agent: copy.deepcopy(agent.config) for agent in (shop, payments)}
    payments.config["policies"] = [allow("shop-may-pay", WEB)]
    payments.apply()
    try:
        with connect((hosts["api"], 8080), net["shop"]) as allowed, connect((hosts["api"], 8080), net["lobby"]) as plain, \
                connect((hosts["db"], 5432), net["shop"]) as unlisted:
            for sock in (allowed, plain, unlisted):
                assert exchange(sock, b"hello") == b"hello"
            marks = shop.mark(), payments.mark()
            for agent in (shop, payments):
                agent.config["settings"]["enforcement"] = "ENFORCE"
                agent.apply()
            payments.wait_conn(marks[1], dir="inbound", reason="policy_revoked", peer="-")
            shop.wait_conn(marks[0], dir="outbound", reason="unlisted_destination")
            assert is_reset_or_closed(plain) and is_reset_or_closed(unlisted)
            assert exchange(allowed, b"hello") == b"hello"
        assert is_turned_away((hosts["api"], 8080), net["lobby"], b"GET / HTTP/1.0\r\n\r\n")
        assert is_turned_away((hosts["db"], 5432), net["shop"], b"x")
    finally:
        for agent, config in before.items():
            agent.config = config
            agent.apply()
