# SPDX-License-Identifier: Apache-2.0
"""How policyd issues certificates: what spends a token, what comes late, and who waits for whom."""
import contextlib
import os
import signal
import threading
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from policyd import CALLER, Policyd, Refused, Sidecar, csr, fleet, refusal, token_of, workload  # noqa: E402
from mesh import DOMAIN, Agent, wait_until  # noqa: E402


@pytest.fixture
def policyd():
    made = Policyd(fleet())
    yield made
    made.close()


def test_a_token_that_admits_nobody_is_not_spent(policyd):
    shown = token_of(policyd)
    assert refusal(policyd=policyd, name="api", **{**shown, "addresses": ["192.168.0.1"]})[0] == "PERMISSION_DENIED"
    assert "token_for_another" in refusal(policyd=policyd, name="api", spiffe_id=CALLER, **shown)[1]
    with Sidecar(policyd, "api", **shown) as api:
        api.take()
    assert "token_used" in refusal(policyd=policyd, name="api", **shown)[1]
    # Nor by an identity that isn't rolled out yet.
    late = {"token": policyd.token("late"), "tcp": True}
    assert "not_named" in refusal(policyd=policyd, name="late", **late)[1]
    described = fleet()
    described["workloads"].append(workload("late"))
    policyd.apply(described)
    with Sidecar(policyd, "late", **late) as sidecar:
        sidecar.take()


def test_a_token_is_given_back_when_its_stream_ends_before_the_certificate_could_be_issued(policyd):
    key = policyd.folder / "ca/ca.key"
    shown = token_of(policyd, request=csr()[0])
    away = key.rename(policyd.folder / "away")
    with Sidecar(policyd, "api", **shown):
        policyd.wait_line(msg="admitted", by="join_token")
    policyd.wait_line(msg="join token given back: nothing that it admitted to was accepted", certificate="not_issued")
    away.rename(key)
    with Sidecar(policyd, "api", **shown) as api:
        assert api.take().HasField("certificate")
        wait_until("it is spent", lambda: list((policyd.folder / "tokens/used").iterdir()))
    assert "token_used" in refusal(policyd=policyd, name="api", **shown)[1]


def test_a_token_is_spent_when_its_certificate_was_accepted_and_by_nothing_that_the_sidecar_refuses(policyd):
    shown, used = token_of(policyd, request=csr()[0]), policyd.folder / "tokens/used"
    with Sidecar(policyd, "api", **shown) as api:
        api.ack(api.next(), "certificate.chain[0]: not yet valid")
        policyd.wait_line(msg="refused by sidecar")
        # Nobody else comes in by it meanwhile, and whoever tries is told to come again.
        assert refusal(policyd=policyd, name="api", **shown)[0] == "UNAVAILABLE"
        api.ask(csr()[0])
        again = api.next()
        assert again.HasField("certificate") and again.HasField("state"), "both, since neither was accepted"
        api.ack(again, "certificate.chain[0]: not yet valid")
    policyd.wait_line(msg="join token given back: nothing that it admitted to was accepted", certificate="not_accepted")
    # A policyd that is killed meanwhile leaves the token held; that ends by itself.
    with Sidecar(policyd, "api", **shown) as api:
        api.next()
        policyd.stop(signal.SIGKILL)
    policyd.start()
    assert "token_held" in refusal(policyd=policyd, name="api", **shown)[1]
    held, = (policyd.folder / "tokens/held").iterdir()
    os.utime(held, (time.time() - 61,) * 2)
    with Sidecar(policyd, "api", **shown) as api:
        api.take()
        wait_until("it is spent", lambda: list(used.iterdir()))
    assert "token_used" in refusal(policyd=policyd, name="api", **shown)[1]


def joining(policyd):
    """A sidecar, not started, that has a join token and nothing else."""
    policyd.apply({"workloads": [workload("api", "127.0.0.1/32")]})
    token = policyd.folder / "join.token"
    token.write_text(policyd.token("api"))
    access = {"address": "%s:%d" % policyd.tcp, "identity": f"spiffe://{DOMAIN}/tabard/policyd", "roots": str(policyd.folder / "ca/ca.pem"),
              "join_token": str(token), "state": "state", "addresses": ["127.0.0.1"]}
    return Agent("api", {"policy_agent": access, "inbound_ports": [{"port": 8080, "mode": "MTLS", "listen": "127.0.0.1:0"}]}, start=False)


def test_a_first_certificate_that_comes_late_locks_no_sidecar_out(policyd):
    key = policyd.folder / "ca/ca.key"
    away = key.rename(policyd.folder / "away")
    agent = joining(policyd)
    try:
        agent.start(wait=False)
        # Longer than policyd waits for the CA: the state comes first, with the reason.
        policyd.wait_line(msg="refused by sidecar", seconds=15)
        away.rename(key)
        agent.wait_line(msg="snapshot in force", seconds=20)
        assert len(policyd.lines(msg="admitted", by="join_token")) == 1
    finally:
        agent.close()


def test_a_sidecar_is_told_no_file_s_name_of_policyd_s(policyd):
    key = policyd.folder / "ca/ca.key"
    away = key.rename(policyd.folder / "away")
    with Sidecar(policyd, "api", **token_of(policyd, request=csr()[0])) as api:
        told = api.next().certificate_error
    away.rename(key)
    assert told == "the CA can't issue certificates now; its own log says why"
    assert str(key) in policyd.wait_line(msg="the CA can't issue")["error"]
    shown = token_of(policyd)
    for token in (policyd.folder / "tokens").iterdir():
        if token.is_file():
            token.write_text("spoiled")
    code, told = refusal(policyd=policyd, name="api", **shown)
    assert "token_broken" in told and "its own log says why" in told and str(policyd.folder) not in told, (code, told)
    assert str(policyd.folder / "tokens") in policyd.wait_line(msg="join tokens can't be read or kept")["error"]
    # Nor where the record of what was issued can't be written.
    (policyd.folder / "ca/issued").unlink(missing_ok=True)
    (policyd.folder / "ca/issued").mkdir()
    with Sidecar(policyd, "api", **token_of(policyd, request=csr()[0])) as api:
        assert str(policyd.folder) not in api.next().certificate_error


def test_nothing_is_said_to_be_in_force_before_there_is_a_state(policyd):
    key = policyd.folder / "ca/ca.key"
    away = key.rename(policyd.folder / "away")
    agent = joining(policyd)
    try:
        agent.start(wait=False)
        policyd.wait_line(msg="refused by sidecar", seconds=15)
        wait_until("the refusal shows", lambda: "issues no certificate" in agent.status()["policy_agent"].get("last_error", ""))
        away.rename(key)
        agent.wait_line(msg="snapshot in force", seconds=20)
        assert not agent.lines(msg="policy agent's state in force", version=0)
        assert agent.lines(msg="policy agent's state in force", new_state="yes")
    finally:
        agent.close()


def test_one_identity_that_floods_does_not_hold_up_anothers_certificate(policyd):
    """As `web` of the flood: stream after stream, each with a signing request."""
    described = fleet()
    described["workloads"].append(workload("flood"))
    policyd.apply(described)
    with Sidecar(policyd, "flood", request=csr()[0], token=policyd.token("flood"), tcp=True) as first:
        first.take()
    chain, key = policyd.issue("flood")
    shown = {"policyd": policyd, "name": "flood", "tcp": True, "chain": chain.read_bytes(), "key": key.read_bytes()}
    request, over, streams = csr()[0], threading.Event(), []

    def flood():
        while not over.is_set():
            with Sidecar(request=request, **shown) as sidecar:
                with contextlib.suppress(Refused):
                    sidecar.next(20)
            streams.append(1)

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        slowest, wanted = 0, csr()[0]
        with Sidecar(policyd, "api", **token_of(policyd)) as api:
            api.take()
            for _ in range(3):
                began = time.monotonic()
                api.ask(wanted)
                got = api.take()
                assert got.HasField("certificate"), got.certificate_error
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.5)
        assert slowest < 2
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert len(streams) > 20
