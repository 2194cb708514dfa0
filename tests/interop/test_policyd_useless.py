# SPDX-License-Identifier: Apache-2.0
"""Sidecars whose own certificate becomes useless, because it is revoked or of a root that left: a real policyd gives those the next
one at once who may have it."""
import contextlib
import os
import socket

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from policyd import API, CALLER, Policyd, allow, workload  # noqa: E402
from mesh import DOMAIN, Agent, Service, connect, exchange, is_reset_or_closed, run, wait_until  # noqa: E402

QUESTION = b"through two sidecars"


class Pair:
    """A caller and a called sidecar, which have nothing but the policy agent."""

    def __init__(self, stack, *, caller_by_token=False):
        self.policyd = Policyd({}, start=False)
        stack.callback(self.policyd.close)
        service = Service()
        stack.callback(service.close)
        # The port that the fleet speaks of is the one that the called sidecar listens on.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        uid = {"unix_uids": [os.getuid()]}
        self.policyd.write("fleet", {"workloads": [workload("caller", **({} if caller_by_token else uid)),
                                                   workload("api", "127.0.0.1/32", ports=[port], **uid)],
                                     "policies": [allow("api-is-called", API, CALLER)]})
        self.policyd.start()
        self.api = self.sidecar("api", inbound_ports=[{"port": port, "mode": "MTLS", "listen": f"127.0.0.1:{port}",
                                                       "application": "%s:%d" % service.address}])
        stack.callback(self.api.close)
        access = {}
        if caller_by_token:
            token = self.policyd.folder / "join.token"
            token.write_text(self.policyd.token("caller"))
            access = {"address": "%s:%d" % self.policyd.tcp, "identity": f"spiffe://{DOMAIN}/tabard/policyd",
                      "roots": str(self.policyd.folder / "ca/ca.pem"), "join_token": str(token)}
        self.caller = self.sidecar("caller", access, forwards=[{"listen": "127.0.0.1:0", "destination": f"127.0.0.1:{port}"}])
        stack.callback(self.caller.close)

    def sidecar(self, name, access=(), **more):
        said = {"address": f"unix:{self.policyd.unix}", "spiffe_id": f"spiffe://{DOMAIN}/ns/fleet/sa/{name}", "node_id": name,
                "addresses": ["127.0.0.1"], "state": str(self.policyd.folder / f"{name}.state"), **dict(access)}
        return Agent(name, {"policy_agent": said, "settings": {"drain_seconds": 1}, **more})

    def call(self):
        with contextlib.suppress(ConnectionError), connect(self.caller.address("127.0.0.1:0")) as sock:
            return exchange(sock, QUESTION)
        return b""

    def revoke(self, serial):
        run("tabard-ca", "revoke", "--dir", self.policyd.folder / "ca", "--serial", serial)


def serial_of(sidecar):
    return sidecar.status()["certificate_serial"]


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


def test_a_living_sidecar_that_may_have_one_gets_a_new_certificate_when_its_own_is_revoked(stack):
    pair = Pair(stack)
    assert pair.call() == QUESTION
    before = serial_of(pair.caller)
    mark, heard = pair.api.mark(), pair.policyd.mark()
    with connect(pair.caller.address("127.0.0.1:0")) as sock:
        assert exchange(sock, QUESTION) == QUESTION
        pair.revoke(before)
        assert is_reset_or_closed(sock), "whoever has the old one is cut off"
    assert pair.api.wait_conn(mark, dir="inbound", reason="revoked")["peer"] == CALLER
    wait_until("it has a new one", lambda: serial_of(pair.caller) != before)
    wait_until("and is answered again", lambda: pair.call() == QUESTION)
    assert serial_of(pair.caller) in {line["serial"] for line in pair.policyd.lines(heard, msg="issued", id=CALLER)}


def test_a_living_sidecar_that_only_the_revoked_certificate_proved_gets_no_new_one(stack):
    pair = Pair(stack, caller_by_token=True)
    assert pair.call() == QUESTION
    before, mark = serial_of(pair.caller), pair.policyd.mark()
    pair.revoke(before)
    wait_until("it is refused", lambda: pair.call() == b"")
    refused = wait_until("it has come back", lambda: pair.policyd.lines(mark, reason="not_admitted"))[-1]
    assert "revoked" in refused["error"]
    assert not pair.policyd.lines(mark, msg="issued", id=CALLER)
    assert serial_of(pair.caller) == before and pair.call() == b""


def test_sidecars_whose_root_leaves_are_given_certificates_of_the_new_one_on_the_streams_they_have(stack):
    pair = Pair(stack)
    ca = pair.policyd.folder / "ca"
    assert pair.call() == QUESTION
    before = {sidecar.name: serial_of(sidecar) for sidecar in (pair.caller, pair.api)}
    mark = pair.policyd.mark()
    run("tabard-ca", "init", "--dir", pair.policyd.folder / "new", "--trust-domain", DOMAIN)
    # The root goes at once, as after its key was stolen: what it signed is good for nothing.
    for name in ("ca.key", "ca.pem"):
        (pair.policyd.folder / "new" / name).rename(ca / name)
    for sidecar in (pair.caller, pair.api):
        assert "waits for a new certificate" in sidecar.wait_line(msg="update refused")["error"]
        wait_until("it has a new one", lambda one=sidecar: serial_of(one) != before[one.name])
    wait_until("they meet again", lambda: pair.call() == QUESTION)
    assert len(pair.policyd.lines(mark, msg="issued")) == 2, "one for each"
    assert pair.policyd.metrics()["streams"] == 2 and not pair.policyd.lines(mark, msg="admitted")
