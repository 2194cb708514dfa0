# SPDX-License-Identifier: Apache-2.0
"""Whose certificate opens the door, on either side, and what each refusal is called."""
import socket

import pytest

from ca import HOUR, Authority
from foreign import attempt, server_context, tls
from mesh import API, DOMAIN, STRANGER, WEB, Agent, Service, exchange, is_turned_away, run, wait_until
from pair import bundles, client_config, server_config, serving


@pytest.fixture(scope="module")
def server(authority):
    with serving(authority) as agent:
        yield agent


def through_intermediate(authority, *, complete, extra=()):
    between = authority.forge("between", ca=True, usage="keyCertSign", extra=extra)
    leaf = authority.forge("web", WEB, signer=between)
    if complete:
        leaf.chain.write_bytes(leaf.chain.read_bytes() + between.chain.read_bytes())
    return leaf


def long_chain(authority, num_certificates):
    signer, pems = None, []
    for number in range(num_certificates - 1):
        signer = authority.forge(f"between{number}", ca=True, usage="keyCertSign", signer=signer)
        pems.insert(0, signer.chain.read_bytes())
    leaf = authority.forge("web", WEB, signer=signer)
    leaf.chain.write_bytes(leaf.chain.read_bytes() + b"".join(pems))
    return leaf


# What the client shows -> the reason in log and metric, and the alert that it gets (OpenSSL's names).
REFUSED = {
    "no certificate": (lambda ours, other: None, "no_certificate", "CERTIFICATE_REQUIRED"),
    "another trust domain": (lambda ours, other: other.issue("web", "spiffe://other.example/ns/shop/sa/web"),
                             "unknown_trust_domain", "UNKNOWN_CA"),
    "our id, signed by another domain": (lambda ours, other: other.forge("web", WEB), "untrusted_chain", "UNKNOWN_CA"),
    "expired": (lambda ours, other: ours.forge("web", WEB, end=-60), "expired", "CERTIFICATE_EXPIRED"),
    "not yet valid": (lambda ours, other: ours.forge("web", WEB, start=HOUR, end=2 * HOUR), "not_yet_valid", "BAD_CERTIFICATE"),
    "no URI name": (lambda ours, other: ours.forge("web"), "no_uri_san", "BAD_CERTIFICATE"),
    "two URI names": (lambda ours, other: ours.forge("web", WEB, API), "many_uri_sans", "BAD_CERTIFICATE"),
    "an id without a path": (lambda ours, other: ours.forge("web", f"spiffe://{DOMAIN}"), "bad_spiffe_id", "BAD_CERTIFICATE"),
    "an https URI": (lambda ours, other: ours.forge("web", f"https://{DOMAIN}/web"), "bad_spiffe_id", "BAD_CERTIFICATE"),
    "a CA as leaf": (lambda ours, other: ours.forge("web", WEB, ca=True, usage="digitalSignature,keyCertSign"),
                     "leaf_is_ca", "BAD_CERTIFICATE"),
    "a leaf that may sign certificates": (lambda ours, other: ours.forge("web", WEB, usage="digitalSignature,keyCertSign"),
                                          "leaf_key_usage", "BAD_CERTIFICATE"),
    "an RSA key of 1024 bits": (lambda ours, other: ours.forge("web", WEB, key="rsa1024"), "weak_key", "BAD_CERTIFICATE"),
    "a chain of twelve": (lambda ours, other: long_chain(ours, 12), "chain_too_long", "BAD_CERTIFICATE"),
    "5,000 uses": (lambda ours, other: ours.forge("web", WEB, extra=["2.5.29.37=DER:308261a8" + "0603550403" * 5000]),
                   "too_much_work", "BAD_CERTIFICATE"),
    "an intermediate for servers alone": (
        lambda ours, other: through_intermediate(ours, complete=True, extra=["extendedKeyUsage=serverAuth"]), "untrusted_chain", "UNKNOWN_CA"),
    "its intermediate missing": (lambda ours, other: through_intermediate(ours, complete=False), "untrusted_chain", "UNKNOWN_CA"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_client_is_refused_that_shows(server, authority, other_authority, what):
    make, reason, alert = REFUSED[what]
    certificate = make(authority, other_authority)
    mark, served = server.mark(), server.service.num_connections
    counted = server.metric("tabard_connections_closed_total", direction="inbound", reason=reason)
    answer = attempt(server.address("127.0.0.1:0"), authority, certificate)
    assert alert in str(answer)
    server.wait_conn(mark, dir="inbound", reason=reason)
    assert server.service.num_connections == served, "the application was reached"
    wait_until("the refusal is counted", lambda: server.metric(
        "tabard_connections_closed_total", direction="inbound", reason=reason) == counted + 1)


def test_a_client_with_its_intermediate_gets_in(server, authority):
    assert attempt(server.address("127.0.0.1:0"), authority, through_intermediate(authority, complete=True)) == b"hello"


def test_a_client_gets_in_that_shows_an_expired_and_a_foreign_intermediate_before_a_good_one(server, authority, other_authority):
    good = authority.forge("between", ca=True, usage="keyCertSign")
    expired = authority.forge("between", ca=True, usage="keyCertSign", end=-60, like=good)
    foreign = other_authority.forge("between", ca=True, usage="keyCertSign", like=good)
    leaf = authority.forge("web", WEB, signer=good)
    leaf.chain.write_bytes(b"".join(made.chain.read_bytes() for made in (leaf, expired, foreign, good)))
    assert attempt(server.address("127.0.0.1:0"), authority, leaf) == b"hello"


@pytest.mark.parametrize("key", ["ec", "p384", "ed25519", "rsa"])
def test_every_kind_of_key_works_on_both_sides(keep, authority, service, key):
    config = server_config(authority, service.address, certificate=authority.forge("api", API, key=key))
    server = keep(Agent("payments", config))
    client = keep(Agent("shop", client_config(authority, server.address("127.0.0.1:0"),
                                              certificate=authority.forge("web", WEB, key=key))))
    with socket.create_connection(client.address("127.0.0.1:0"), timeout=10) as sock:
        assert exchange(sock, b"hello") == b"hello"


def test_workloads_of_an_intermediate_ca_trust_the_root_alone(keep, authority, service):
    below = keep(Authority(DOMAIN, parent=authority))
    server = keep(Agent("payments", server_config(authority, service.address, certificate=below.issue("api", API))))
    client = keep(Agent("shop", client_config(authority, server.address("127.0.0.1:0"), certificate=below.issue("web", WEB))))
    with socket.create_connection(client.address("127.0.0.1:0"), timeout=10) as sock:
        assert exchange(sock, b"hello") == b"hello"


def test_a_root_that_is_taken_away_ends_the_connections_that_it_proved(keep, authority, service):
    new = keep(Authority(DOMAIN))
    both = new.folder / "both.pem"
    both.write_bytes(authority.roots.read_bytes() + new.roots.read_bytes())
    config = server_config(authority, service.address, certificate=new.issue("api", API))
    config["trust_bundles"][0]["roots"] = str(both)
    server = keep(Agent("payments", config))
    address = server.address("127.0.0.1:0")
    with tls(address, new, authority.issue("web", WEB)) as old, tls(address, new, new.issue("web", WEB)) as young:
        assert exchange(old, b"hello") == exchange(young, b"hello") == b"hello"
        mark = server.mark()
        config["trust_bundles"][0]["roots"] = str(new.roots)
        server.apply()
        line = server.wait_conn(mark, dir="inbound")
        assert line["reason"] == "untrusted_chain", line
        assert is_reset_or_closed_tls(old)
        assert exchange(young, b"still here") == b"still here"


def test_a_trust_domain_that_is_taken_away_ends_its_connections(keep, authority, other_authority, service):
    config = server_config(authority, service.address)
    config["trust_bundles"] += bundles(other_authority)
    config["policies"][0]["rules"][0]["principals"].append("spiffe://other.example")
    server = keep(Agent("payments", config))
    with tls(server.address("127.0.0.1:0"), authority, other_authority.issue("x", "spiffe://other.example/x")) as visitor:
        assert exchange(visitor, b"hello") == b"hello"
        mark = server.mark()
        config["trust_bundles"].pop()
        server.apply()
        assert server.wait_conn(mark, dir="inbound")["reason"] == "unknown_trust_domain"
        assert is_reset_or_closed_tls(visitor)


def test_a_connection_ends_when_its_peer_s_certificate_expires(keep, authority, service):
    config = server_config(authority, service.address, limits={"peer_expiry_grace_ms": 50})
    server = keep(Agent("payments", config))
    short, long = authority.forge("web", WEB, end=2), authority.issue("web", WEB)
    mark = server.mark()
    with tls(server.address("127.0.0.1:0"), authority, short) as dies, tls(server.address("127.0.0.1:0"), authority, long) as lives:
        assert exchange(dies, b"hello") == exchange(lives, b"hello") == b"hello"
        server.wait_conn(mark, dir="inbound", reason="peer_expired")
        assert exchange(lives, b"still here") == b"still here"


def test_a_revoked_peer_loses_old_connections_and_gets_no_new_ones(keep, service):
    ours = keep(Authority(DOMAIN))
    victim, other = ours.issue("web", WEB), ours.issue("web", WEB)
    # The first CRL of a CA revokes somebody else.
    crl = ours.revoke(ours.issue("gone", STRANGER))
    config = server_config(ours, service.address)
    config["trust_bundles"] = bundles(ours, crl)
    server = keep(Agent("payments", config))
    address = server.address("127.0.0.1:0")
    mark = server.mark()
    with tls(address, ours, victim) as old, tls(address, ours, other) as neighbour:
        assert exchange(old, b"hello") == exchange(neighbour, b"hello") == b"hello"
        ours.revoke(victim)
        server.wait_conn(mark, dir="inbound", reason="revoked")
        assert is_reset_or_closed_tls(old)
        assert exchange(neighbour, b"not me") == b"not me"
    mark = server.mark()
    assert "CERTIFICATE_REVOKED" in str(attempt(address, ours, victim))
    server.wait_conn(mark, dir="inbound", reason="revoked")
    assert attempt(address, ours, other) == b"hello"


def test_a_crl_that_is_taken_away_is_told(keep, service):
    ours = keep(Authority(DOMAIN))
    below = keep(Authority(DOMAIN, parent=ours))
    lists = ours.folder / "lists.pem"

    def revoke_another():
        return "".join(ca.revoke(ca.issue("gone", STRANGER)).read_text() for ca in (ours, below))
    lists.write_text(revoke_another())
    config = server_config(ours, service.address)
    config["trust_bundles"] = bundles(ours, lists)
    server = keep(Agent("payments", config))

    def told_after(change):
        mark = server.mark()
        change()
        server.wait_line(mark, msg="snapshot in force")
        return [line["issuer"] for line in server.lines(mark, level="warn", msg="a CRL is gone: what it revoked is revoked no more")]
    assert told_after(lambda: lists.write_text(revoke_another())) == []  # a newer list takes its place
    only_below, = told_after(lambda: lists.write_text(ours.crl.read_text()))
    assert serial_number(below) in only_below
    config["trust_bundles"] = bundles(ours)
    last, = told_after(server.write_config)
    assert serial_number(ours) in last


def serial_number(authority):
    """What tells the names of tabard-ca's CAs apart."""
    text = run("openssl", "x509", "-in", authority.ca / "ca.pem", "-noout", "-subject").stdout
    return text.split("serialNumber")[1].strip(" =\n")  # with or without blanks: it depends on the release


def is_reset_or_closed_tls(sock):
    try:
        return not sock.recv(100)
    except OSError:
        return True


class TlsService(Service):
    """A server that isn't Tabard, with the certificate that the test gives it."""

    def __init__(self, context):
        self.context = context
        super().__init__(self.serve)

    def serve(self, sock):
        with self.context.wrap_socket(sock, server_side=True) as secure:
            while data := secure.recv(65536):
                secure.sendall(data)


# What the server shows -> the reason why the caller's sidecar refuses it.
REFUSED_SERVERS = {
    "another identity": (lambda ours, other: ours.issue("stranger", STRANGER), "wrong_identity"),
    "another trust domain": (lambda ours, other: other.issue("api", "spiffe://other.example/ns/payments/sa/api"),
                             "unknown_trust_domain"),
    "our id, signed by another domain": (lambda ours, other: other.forge("api", API), "untrusted_chain"),
    "an expired certificate": (lambda ours, other: ours.forge("api", API, end=-60), "expired"),
    "no identity": (lambda ours, other: ours.forge("api"), "no_uri_san"),
}


@pytest.mark.parametrize("what", REFUSED_SERVERS)
def test_a_server_is_refused_that_shows(keep, authority, other_authority, what):
    make, reason = REFUSED_SERVERS[what]
    server = keep(TlsService(server_context(authority, make(authority, other_authority), verify=False)))
    client = keep(Agent("shop", client_config(authority, server.address)))
    mark = client.mark()
    assert is_turned_away(client.address("127.0.0.1:0"))
    line = client.wait_conn(mark, dir="outbound", reason=reason)
    assert line["down"] == "0"


def test_a_server_s_prefix_and_trust_domain_may_be_expected(keep, authority):
    server = keep(TlsService(server_context(authority, authority.issue("api", API))))
    for expected in (API, f"spiffe://{DOMAIN}/ns/payments/", f"spiffe://{DOMAIN}"):
        client = keep(Agent("shop", client_config(authority, server.address, expect=[expected])))
        with socket.create_connection(client.address("127.0.0.1:0"), timeout=10) as sock:
            assert exchange(sock, b"hello") == b"hello"
