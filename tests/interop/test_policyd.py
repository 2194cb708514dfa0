# SPDX-License-Identifier: Apache-2.0
"""tabard-policyd, with gRPC's own Python library in the sidecar's place."""
import contextlib
import os
import signal
import socket
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from listed_metrics import build_info, listed, shown, versions  # noqa: E402
from mesh import DOMAIN, Agent, Service, connect, exchange, free_port, is_reset_or_closed, is_turned_away, run, wait_until  # noqa: E402
from policyd import API, CALLER, OTHER, Policyd, Refused, Sidecar, allow, csr, fleet, pb, pem_of, refusal, spiffe, token_of, workload  # noqa: E402

@pytest.fixture
def policyd():
    made = Policyd(fleet())
    yield made
    made.close()


def test_a_token_gives_a_certificate_that_then_admits_by_itself(policyd):
    request, key = csr()
    with Sidecar(policyd, "api", request=request, **token_of(policyd)) as first:
        got = first.take()
    assert [policy.name for policy in got.state.policies] == ["api-is-called"] and len(got.certificate.chain) == 1
    pem = pem_of(got.certificate.chain)
    with Sidecar(policyd, "api", tcp=True, chain=pem, key=key, addresses=["10.0.0.5"], version=got.version) as second:
        again = second.take()
    assert again.version >= got.version and not again.HasField("certificate")
    assert policyd.wait_line(msg="admitted", by="certificate")["id"] == API


def test_used_expired_and_foreign_tokens_are_refused_in_words(policyd):
    token = policyd.token("api")
    with Sidecar(policyd, "api", token=token, tcp=True, addresses=["10.0.0.5"]) as sidecar:
        sidecar.take()
    assert refusal(policyd=policyd, name="api", token=token, tcp=True) == (
        "UNAUTHENTICATED", "token_used: the join token was used before; each admits one sidecar once")
    code, text = refusal(policyd=policyd, name="api", token="tabard-join-guess", tcp=True)
    assert code == "UNAUTHENTICATED" and text.startswith("token_unknown")
    late = policyd.token("api")
    for file in (policyd.folder / "tokens").glob("[0-9a-f]*"):
        file.write_text(f"{API} {int(time.time()) - 5}\n")
    code, text = refusal(policyd=policyd, name="api", token=late, tcp=True)
    assert code == "UNAUTHENTICATED" and text.startswith("token_expired") and "seconds ago" in text
    code, text = refusal(policyd=policyd, name="api", token=policyd.token("api"), tcp=True, spiffe_id=OTHER)
    assert code == "PERMISSION_DENIED" and text.startswith("token_for_another")
    assert refusal(policyd=policyd, tcp=True)[1].startswith("no_proof")
    assert policyd.metrics()['admissions_total{result="token_used"}'] == 1


@pytest.mark.parametrize("key, names, words", [
    ("rsa1024", (), "1024"), ("p521", (), "P-521"), ("ec", ("URI:" + OTHER,), OTHER), ("ec", ("DNS:bank.example",), "bank.example"),
    ("ec", ("IP:10.0.0.9",), ""),
])
def test_weak_keys_and_names_not_granted_get_a_certificate_error_and_the_state(policyd, key, names, words):
    with Sidecar(policyd, "api", request=csr(key, names)[0], **token_of(policyd)) as sidecar:
        got = sidecar.take()
        assert got.HasField("state") and not got.HasField("certificate") and got.certificate_error
        assert words in got.certificate_error
        sidecar.ask(csr("ec", ("DNS:api.demo", "URI:" + API))[0])
        assert sidecar.take().HasField("certificate")


def test_a_certificate_for_somebody_else_and_what_is_no_request_are_refused(policyd):
    with Sidecar(policyd) as sidecar:
        sidecar.take()
        sidecar.ask(csr()[0], OTHER)
        assert CALLER in sidecar.take().certificate_error
        sidecar.ask(b"garbage")
        assert "PKCS#10" in sidecar.take().certificate_error
        sidecar.ask(b"")
        assert "0 bytes" in sidecar.take().certificate_error


def test_a_thousand_requests_for_certificates_at_once_end_the_stream_and_disturb_nobody(policyd):
    request = csr()[0]
    with Sidecar(policyd) as good:
        good.take()
        flood = Sidecar(policyd, node="flood", request=request)
        for _ in range(1000):
            flood.ask(request)
        with pytest.raises(Refused) as refused:
            while True:
                flood.take()
        flood.close()
        assert refused.value.code.name == "RESOURCE_EXHAUSTED"
        good.ask(request)
        assert good.take().HasField("certificate")
        # One after the other, as the protocol wants, it is a stream's own limit that bites.
        errors = []
        for _ in range(10):
            good.ask(request)
            errors.append(good.take().certificate_error)
    assert errors[-1].startswith("too many signing requests on this stream")
    metrics = policyd.metrics()
    assert metrics['certificates_refused_total{reason="limit_stream"}'] >= 7 and metrics["certificates_issued_total"] < 10


@pytest.mark.parametrize("raw, words", [(b"\xff\xff\xff", "not a SubscribeRequest"), (b"", "node"), (b"\x0a\x00", "node"),
                                        (b"\x22\x03\x0a\x01x", "node")])
def test_garbage_ends_its_stream_in_words(policyd, raw, words):
    code, text = refusal(policyd=policyd, raw=raw or b"\x10\x00")
    assert code == "INVALID_ARGUMENT" and words in text


def test_results_nobody_waits_for_and_a_second_introduction_end_the_stream(policyd):
    for message in (pb.SubscribeRequest(result=pb.Result(nonce="77")), pb.SubscribeRequest(node=pb.Node(id="x")), pb.SubscribeRequest()):
        with Sidecar(policyd) as sidecar:
            sidecar.take()
            sidecar.requests.put(message)
            with pytest.raises(Refused) as refused:
                sidecar.next()
            assert refused.value.code.name == "INVALID_ARGUMENT"


def test_raw_bytes_on_both_sockets_and_half_an_http2_preface_do_no_harm(policyd):
    for address, family in ((str(policyd.unix), socket.AF_UNIX), (policyd.tcp, socket.AF_INET)):
        for data in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 9):
            with socket.socket(family) as sock, contextlib.suppress(OSError):
                sock.settimeout(10)
                sock.connect(address)
                sock.sendall(data)
                while sock.recv(4096):
                    pass
    with Sidecar(policyd) as sidecar:
        assert sidecar.take().HasField("state")


def test_an_open_stream_that_says_nothing_ends_after_its_deadline(policyd):
    with Sidecar(policyd, first=False) as sidecar:
        with pytest.raises(Refused) as refused:
            sidecar.next(seconds=20)
    assert (refused.value.code.name, refused.value.text) == ("DEADLINE_EXCEEDED", "no first request came in time")


def test_addresses_are_bounded_and_belong_to_one_identity(policyd):
    code, text = refusal(policyd=policyd, name="api", token=policyd.token("api"), tcp=True, addresses=["10.9.0.1", "192.168.0.1"])
    assert code == "PERMISSION_DENIED" and "none of the 2 addresses" in text
    with Sidecar(policyd, "api", **token_of(policyd)) as api:
        api.take()
        code, text = refusal(policyd=policyd, name="other", **token_of(policyd, "other"))
        assert code == "PERMISSION_DENIED" and text == f"10.0.0.5 is in use by {API}"


def test_only_who_may_call_is_told_and_by_a_delta(policyd):
    with Sidecar(policyd) as caller, Sidecar(policyd, "other", token=policyd.token("other"), tcp=True, addresses=["10.0.1.1"]) as other:
        state, ignored = caller.take(), other.take()
        assert list(state.state.destinations) == [] == list(ignored.state.destinations)
        with Sidecar(policyd, "api", **token_of(policyd)) as api:
            api.take()
            delta = caller.take()
            (got,) = delta.destinations.set
            assert (got.name, list(got.addresses), list(got.ports), list(got.identities)) == (
                f"{API}@10.0.0.5", ["10.0.0.5"], [8080], [API])
            assert delta.version > state.version and len(delta.SerializeToString()) < 250
            assert other.is_silent() and api.is_silent()
            policyd.apply(fleet(allow("api-is-called", API, OTHER)))
            assert list(caller.take().destinations.removed) == [got.name]
            assert other.take().destinations.set[0].name == got.name
            assert [policy.policy.rules[0].principals[0] if hasattr(policy, "policy") else policy.rules[0].principals[0]
                    for policy in api.take().state.policies] == [OTHER]
            api.requests.put(None)  # a goodbye takes the address along at once
            assert list(other.take().destinations.removed) == [got.name]


def test_without_the_capability_every_change_is_a_state(policyd):
    with Sidecar(policyd, deltas=False) as caller, Sidecar(policyd, "api", **token_of(policyd)) as api:
        caller.take(), api.take()
        assert len(caller.take().state.destinations) == 1


def test_a_lost_sidecars_address_stays_for_a_while(policyd):
    with Sidecar(policyd) as caller:
        caller.take()
        api = Sidecar(policyd, "api", **token_of(policyd))
        api.take(), caller.take()
        api.call.cancel()
        assert caller.is_silent(1)
        api.close()


def test_one_response_at_a_time_and_only_the_newest_state_after_it(policyd):
    with Sidecar(policyd) as caller:
        first = caller.next()
        for number in range(5):
            policyd.apply(fleet(allow(f"api-{number}", API, CALLER), allow(f"caller-{number}", CALLER, API)))
        assert caller.is_silent()
        caller.ack(first)
        assert [policy.name for policy in caller.take().state.policies] == ["caller-4"]
        assert caller.is_silent()


def test_a_nack_is_logged_counted_and_followed_by_a_whole_state(policyd):
    with Sidecar(policyd) as caller, Sidecar(policyd, "api", **token_of(policyd)) as api:
        caller.take(), api.take()
        caller.ack(caller.next(), "policies[0]: I don't like it\nmsg=forged")
        assert caller.is_silent()
        policyd.apply(fleet(allow("api-is-called", API, OTHER)))
        assert caller.take().HasField("state")
        line = policyd.wait_line(msg="refused by sidecar")
        assert line["id"] == CALLER and line["error"] == "policies[0]: I don't like it\nmsg=forged"
    assert policyd.metrics()['results_total{result="nack"}'] == 1


def test_a_slip_in_a_piece_is_named_and_changes_nothing_but_a_revocation_still_gets_through(policyd):
    with Sidecar(policyd) as caller:
        caller.take()
        policyd.write("slip", "workloads:\n- {spiffe_id: 'spiffe://other.example/x'}\n")
        line = policyd.wait_line(msg="update refused")
        assert line["error"].startswith("fleet/slip.yaml:2:15: workloads[0].spiffe_id")
        assert caller.is_silent()
        chain, _ = policyd.issue("api")
        run("tabard-ca", "revoke", "--dir", policyd.folder / "ca", "--cert", chain)
        assert len(caller.take().state.trust_bundles[0].crls) == 1


def test_who_the_fleet_no_longer_names_is_ended(policyd):
    with Sidecar(policyd, "api", **token_of(policyd)) as api:
        api.take()
        policyd.apply({"workloads": [workload("caller")]})
        with pytest.raises(Refused) as refused:
            while True:
                api.take()
        assert refused.value.code.name == "PERMISSION_DENIED"


def test_versions_grow_over_restarts_and_between_two_that_share_a_folder(policyd):
    with Sidecar(policyd) as caller:
        versions = [caller.take().version]
    beside = Policyd(folder=policyd.folder)
    try:
        for number in range(6):
            for one in (beside, policyd):
                one.wait_line(msg="fleet in force")
                with Sidecar(one, version=versions[-1]) as caller:
                    versions.append(caller.take().version)
            policyd.apply(fleet(allow(f"api-{number}", API, CALLER)))
        policyd.stop()
        policyd.start()
        with Sidecar(policyd, version=versions[-1]) as caller:
            versions.append(caller.take().version)
        assert versions == sorted(versions)
    finally:
        beside.close()


def test_two_that_share_a_folder_see_each_others_sidecars_and_spend_a_token_once(policyd):
    beside = Policyd(folder=policyd.folder)
    try:
        token = policyd.token("api")
        with Sidecar(beside) as caller:
            caller.take()
            with Sidecar(policyd, "api", token=token, tcp=True, addresses=["10.0.0.5"]) as api:
                api.take()
                assert caller.take().destinations.set[0].name == f"{API}@10.0.0.5"
                assert refusal(policyd=beside, name="api", token=token, tcp=True)[1].startswith("token_used")
                code, text = refusal(policyd=beside, name="other", **token_of(beside, "other"))
                assert text == f"10.0.0.5 is in use by {API}"
                api.requests.put(None)
                assert list(caller.take().destinations.removed) == [f"{API}@10.0.0.5"]
    finally:
        beside.close()


def test_a_policyd_that_was_killed_comes_back_with_everybodys_addresses(policyd):
    with Sidecar(policyd, "api", **token_of(policyd)) as api:
        api.take()
        policyd.stop(signal.SIGKILL)
        policyd.start()
        with Sidecar(policyd) as caller:
            assert [got.name for got in caller.take().state.destinations] == [f"{API}@10.0.0.5"]


def test_it_serves_many_and_nothing_is_left(policyd):
    for _ in range(20):
        with Sidecar(policyd) as sidecar:
            sidecar.take()
    wait_until("every stream is gone", lambda: policyd.metrics()["streams"] == 0)
    assert policyd.metrics()["streams_total"] == 20


def test_a_policyd_that_stops_says_so_on_every_stream(policyd):
    with Sidecar(policyd) as caller, Sidecar(policyd, "api", **token_of(policyd), first=False) as silent:
        caller.take()
        wait_until("both streams are there", lambda: policyd.metrics()["streams"] == 2)
        assert policyd.stop() == 0
        for sidecar in (caller, silent):
            with pytest.raises(Refused) as refused:
                sidecar.next()
            assert (refused.value.code.name, refused.value.text) == ("UNAVAILABLE", "the policy agent is stopping")


def test_wrong_flags_are_named():
    for arguments, words in (([], "--dir is missing"), (["--dir", "x", "--listen", "here"], "--listen"), (["--what"], "--what"),
                             (["token", "--dir", "x"], "--id is missing"), (["token", "--dir", "x", "--id", DOMAIN], "--id"),
                             (["token", "--dir", "x", "--id", API, "--minutes", "0"], "--minutes")):
        done = run("tabard-policyd", *arguments, check=False)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert run("tabard-policyd", "--help").stdout.startswith("usage: tabard-policyd")


def sidecar_of(policyd, name, **more):
    """A real one, which has nothing but the policy agent's Unix socket."""
    access = {"address": f"unix:{policyd.unix}", "spiffe_id": spiffe(name), "node_id": name, "addresses": ["127.0.0.1"],
              "state": str(policyd.folder / f"{name}.state")}
    return Agent(name, {"policy_agent": access, "settings": {"drain_seconds": 1}, **more})


def test_its_pages_of_health_are_asked_on_a_port_of_their_own(policyd):
    assert policyd.get(policyd.health_at, "/healthz/ready") == (200, "ready\n")
    assert policyd.get(policyd.health_at, "/healthz/live") == (200, "alive\n")
    assert policyd.get(policyd.health_at, "/metrics") == (404, "there is /healthz/ready and /healthz/live\n")
    assert policyd.get(policyd.metrics_at, "/healthz/ready")[0] == 404


def test_the_metrics_are_those_that_are_listed(policyd):
    with contextlib.closing(sidecar_of(policyd, "caller")) as sidecar:
        assert shown(policyd.metrics_page()) == listed("tabard-policyd")
        assert build_info(policyd.metrics_page(), "tabard_policyd_build_info") == versions("tabard-policyd")
        page = shown(sidecar.http("metrics", "/metrics")[1])
        followed = listed("tabard-agent with a policy agent")
        assert followed.items() <= page.items() <= (followed | listed("tabard-agent", "tabard-proxy")).items()


def test_two_real_sidecars_meet_through_it_and_part_when_the_policy_says_so(policyd):
    service = Service()
    uid = [os.getuid()]
    with contextlib.ExitStack() as stack:
        stack.callback(service.close)
        # The port that the fleet speaks of is the one that the called sidecar listens on.
        port = free_port()
        described = {"workloads": [workload("caller", unix_uids=uid),
                                   workload("api", "127.0.0.1/32", unix_uids=uid, ports=[port])],
                     "policies": [allow("api-is-called", API, CALLER)]}
        policyd.apply(described)
        api = sidecar_of(policyd, "api", inbound_ports=[{"port": port, "mode": "MTLS", "listen": f"127.0.0.1:{port}",
                                                         "application": "%s:%d" % service.address}])
        stack.callback(api.close)
        caller = sidecar_of(policyd, "caller", forwards=[{"listen": "127.0.0.1:0", "destination": f"127.0.0.1:{port}"}])
        stack.callback(caller.close)
        with connect(caller.address("127.0.0.1:0")) as sock:
            assert exchange(sock, b"through two sidecars") == b"through two sidecars"
            policyd.apply({**described, "policies": []})
            assert is_reset_or_closed(sock)
        assert is_turned_away(caller.address("127.0.0.1:0"), say=b"x")
        assert policyd.metrics()["streams"] == 2


def test_a_service_of_several_is_told_and_taken_away_by_deltas_and_what_observes_is_seen_by_all(policyd):
    balanced = {"name": "balanced", "addresses": ["10.1.0.1"], "ports": [{"port": 80, "targets": [8080]}, {"port": 81, "targets": [9]}],
                "members": [{"spiffe_id": API}, {"spiffe_id": OTHER}]}
    with Sidecar(policyd) as caller:
        assert not caller.take().state.destinations
        policyd.apply(fleet(services=[balanced]))
        told, = caller.take().destinations.set
        assert (told.name, list(told.addresses), list(told.ports)) == ("balanced", ["10.1.0.1"], [80])
        assert (list(told.identities), told.mode, told.binding) == ([API, OTHER], told.MTLS, told.NONE)
        policyd.apply(fleet(services=[{**balanced, "members": [{"spiffe_id": OTHER}]}]))
        assert list(caller.take().destinations.removed) == ["balanced"]  # OTHER lets nobody in
        observed = fleet(services=[balanced])
        observed["workloads"][2]["enforcement"] = "OBSERVE"
        policyd.apply(observed)
        assert list(caller.take().destinations.set[0].ports) == [80]
        observed["workloads"][0].update(enforcement="OBSERVE", unlisted_outbound="PLAINTEXT")
        policyd.apply(observed)
        state = caller.take().state
        assert (state.enforcement, state.unlisted_outbound) == (2, 2)  # OBSERVE, PLAINTEXT
        observed["services"][0]["has_strangers"] = True
        policyd.apply(observed)
        assert list(caller.take().destinations.removed) == ["balanced"]
