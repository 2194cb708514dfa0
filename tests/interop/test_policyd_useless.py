# SPDX-License-Identifier: Apache-2.0
"""Sidecars whose own certificate becomes useless, because it is revoked or of a root that left: a real policyd gives those the next
one at once who may have it."""
import contextlib
import os
import socket

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from policyd import CALLER  # noqa: E402
from policyd_pair import QUESTION, Pair  # noqa: E402
from mesh import DOMAIN, connect, exchange, is_reset_or_closed, run, wait_until  # noqa: E402

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
