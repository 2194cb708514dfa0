# SPDX-License-Identifier: Apache-2.0
"""Real sidecars that follow policy_agent.py: identity, policy, deltas, rotation, refusals, loss, hostile servers."""
import threading
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")
pytest.importorskip("grpc_tools", reason="python3-grpc-tools is missing: apt-get install python3-grpc-tools")

import grpc  # noqa: E402

from policy_world import (API, DOMAIN, GOAWAY, HEADERS, SETTINGS, SETTINGS_ACK, WEB, Agent, Authority, Hostile,  # noqa: E402
                          PolicyAgent, World, frame, mesh_pb2, pb, pem_to_der, wait_until)

OTHER = f"spiffe://{DOMAIN}/ns/lobby/sa/stranger"


@pytest.fixture
def world():
    made = World()
    try:
        yield made
        for sidecar in made.sidecars:
            for line in sidecar.lines():
                assert line.get("level") != "error" or line["msg"] in EXPECTED_ERRORS, line
    except BaseException:
        for sidecar in made.sidecars:
            print(f"--- {sidecar.name}\n{sidecar.log()[-3000:]}")
        raise
    finally:
        made.close()
        reports, Agent.reports = Agent.reports, []
        assert reports == [], "\n".join(reports)


EXPECTED_ERRORS = {"update refused", "the issued certificate has expired", "the certificate has expired: peers refuse it",
                    "stored state refused", "state not stored: a restart would not find it"}


def test_two_sidecars_get_identity_and_policy_and_talk(world):
    world.pair()
    assert world.call() == b"a question"
    node = world.stream("shop").node
    assert (node.id, list(node.addresses), list(node.capabilities)) == ("shop", ["10.9.8.7"], ["destination_deltas"])
    assert world.result("shop", "1") == ""
    status = world.client_side.status()
    assert status["spiffe_id"] == WEB
    assert status["policy_agent"]["connected"] and status["policy_agent"]["version"] == 2
    assert world.client_side.metric("tabard_policy_agent_connected") == 1
    assert world.server_side.wait_conn(reason="finished")["peer"] == WEB


def test_without_addresses_in_mesh_yaml_the_host_s_own_are_told(world):
    world.agent.set_state(world.state())
    world.serve()
    world.payments(access={"addresses": []})
    assert all(not address.startswith(("127.", "fe80", "::1")) for address in world.stream("payments").node.addresses)


def test_a_delta_makes_a_destination_reachable_and_takes_it_away(world):
    world.agent.set_state(world.state())
    world.serve()
    world.payments()
    world.shop()
    assert world.call() == b""
    assert world.client_side.wait_conn(reason="unlisted_destination")
    world.stream("shop")
    [*_, nonce] = world.agent.change_destinations(put=[world.destination()])
    assert world.result("shop", nonce) == ""
    assert world.call() == b"a question"
    [*_, nonce] = world.agent.change_destinations(put=[world.destination(expect=OTHER)])
    assert world.result("shop", nonce) == ""
    assert world.call() == b""
    [*_, nonce] = world.agent.change_destinations(removed=["payments"])
    assert world.result("shop", nonce) == ""
    mark = world.client_side.mark()
    assert world.call() == b""
    assert world.client_side.wait_conn(mark, reason="unlisted_destination")


def test_many_changes_at_once_are_answered_one_by_one_in_order(world):
    world.pair()
    stream = world.stream("shop")
    nonces = []
    for number in range(50):
        new = mesh_pb2.Destination(name=f"d{number}", addresses=[f"10.1.1.{number + 1}"], mode="PLAINTEXT")
        nonces.append(world.agent.change_destinations(put=[new])[-1])
    wait_until("the last answer is there", lambda: stream.results.qsize() > len(nonces), 20)
    answers = [stream.results.get() for _ in range(len(nonces) + 1)]
    assert answers == [("1", ""), *((nonce, "") for nonce in nonces)]
    assert world.call() == b"a question"


def test_a_certificate_that_runs_out_gives_way_to_the_one_from_files(world):
    world.seconds = 4
    world.agent.set_state(world.state())
    world.serve()
    sidecar = world.payments(identity=world.authority.issue("api", API))
    wait_until("the issued one is in force", lambda: int(sidecar.status()["certificate_not_after_unix"]) < time.time() + 5)
    world.stop_serving()
    wait_until("that of the files is", lambda: int(sidecar.status()["certificate_not_after_unix"]) > time.time() + 60)
    assert sidecar.http("health", "/healthz/ready")[0] == 200


def test_a_policy_change_is_enforced_when_it_is_acknowledged(world):
    world.pair()
    assert world.call() == b"a question"
    world.stream("payments")
    nonces = world.agent.set_state(world.state(world.destination(), principals=[OTHER]))
    for name, nonce in zip(list(world.agent.sidecars), nonces):
        assert world.result(name, nonce) == ""
    mark = world.server_side.mark()
    assert world.call() == b""
    assert world.server_side.wait_conn(mark, reason="policy_denied")["peer"] == WEB


def test_certificates_rotate_at_half_their_life_and_no_call_fails(world):
    world.seconds = 6
    world.pair()
    failed, num, stop = [], 0, threading.Event()

    def load():
        nonlocal num
        while not stop.is_set():
            num += 1
            if world.call() != b"a question":
                failed.append(num)

    def until(sidecar):
        return int(sidecar.status()["certificate_not_after_unix"])

    before = [until(sidecar) for sidecar in world.sidecars]
    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_until("both certificates were renewed twice",
                   lambda: all(until(sidecar) >= old + 4 for sidecar, old in zip(world.sidecars, before)), 20)
    finally:
        stop.set()
        thread.join()
    assert failed == [] and num > 20
    assert world.client_side.metric("tabard_policy_agent_nacks_total") == 0


def test_a_revoked_peer_is_cut_off_by_a_pushed_crl(world):
    world.pair()
    assert world.call() == b"a question"
    chain = world.client_side.folder / "seen.pem"
    import ssl
    issued = []
    certify = world.agent.certify
    world.agent.certify = lambda *asked: issued.append(certify(*asked)) or issued[-1]
    mark = world.client_side.mark()
    world.client_side.stop()
    world.client_side.start()
    world.stream("shop")
    assert issued, world.client_side.log(mark)
    assert world.call() == b"a question"
    chain.write_text(ssl.DER_cert_to_PEM_cert(issued[-1][0]))
    world.authority.revoke(type("Issued", (), {"chain": chain, "key": None}))
    state = world.state(world.destination())
    state.trust_bundles[0].crls.append(ssl_crl(world.authority.crl))
    world.agent.set_state(state)
    wait_until("the revoked caller is refused", lambda: world.call() == b"")
    assert world.server_side.wait_conn(reason="revoked")


def ssl_crl(path):
    import base64
    body = path.read_text().split("-----")[2]
    return base64.b64decode(body)


UNKNOWN = b"\xf8\x7f\x01"  # field 2047, which nothing of ours has


def spoil(world, stranger):
    """Each bad response, and what the reason must say."""
    good = world.state(world.destination())
    higher = {"version": 100}

    def changed(change):
        state = pb.State.FromString(good.SerializeToString())
        change(state)
        return {**higher, "state": state}

    def rule(state, **what):
        state.policies[0].rules.append(mesh_pb2.Policy.Rule(**what))

    def set_action(state, number):
        state.policies[0].action = number

    def set_mode(state, number):
        state.destinations[0].mode = number

    csr_answer = pb.IssuedCertificate(chain=pem_to_der(world.authority.issue("x", WEB).chain.read_text()))
    return {
        "an unknown action": (changed(lambda state: set_action(state, 7)), "policies[0].action"),
        "a zero action": (changed(lambda state: set_action(state, 0)), "policies[0].action"),
        "an unknown mode": (changed(lambda state: set_mode(state, 99)), "destinations[0].mode"),
        "a zero mode": (changed(lambda state: set_mode(state, 0)), "destinations[0].mode"),
        "an unknown field of a policy": (changed(lambda state: state.policies[0].MergeFromString(UNKNOWN)), "policies[0]"),
        "an unknown field of a rule": (changed(lambda state: state.policies[0].rules[0].MergeFromString(UNKNOWN)), "rules[0]"),
        "an unknown field of the response": (changed(lambda state: state.MergeFromString(UNKNOWN)), "state: "),
        "an id with a dot segment": (changed(lambda state: rule(state, principals=[f"spiffe://{DOMAIN}/../x"])), "principals[0]"),
        "an id of another scheme": (changed(lambda state: rule(state, principals=["https://demo.example/x"])), "principals[0]"),
        "an id with a newline": (changed(lambda state: rule(state, principals=[f"spiffe://{DOMAIN}/a\nlevel=error"])), "principals[0]"),
        "a destination for a hostile id": (changed(lambda state: state.destinations[0].identities.append("spiffe://demo.example/%2e")), "identities[1]"),
        "a rule for nobody": (changed(lambda state: rule(state)), "rules[1]"),
        "too many rules": (changed(lambda state: [rule(state, principals=[WEB]) for _ in range(300)]), "rules"),
        "too many policies": (changed(lambda state: [state.policies.add(name=f"p{i}", action="ALLOW", mode="ENFORCE", rules=state.policies[0].rules)
                                                     for i in range(10000)]), "over the limit of 10000"),
        "two policies of one name": (changed(lambda state: state.policies.append(state.policies[0])), "policies[1]"),
        "no bundles": (changed(lambda state: state.ClearField("trust_bundles")), "trust_bundles"),
        "a bundle without its own root": (changed(lambda state: state.trust_bundles[0].ClearField("roots")), "trust_bundles[0]"),
        "another CA's root": (changed(lambda state: state.trust_bundles[0].CopyFrom(mesh_pb2.TrustBundle(
            trust_domain=DOMAIN, roots=pem_to_der(stranger.roots.read_text())))), "trust_bundles[0]"),
        "only another trust domain": (changed(lambda state: state.trust_bundles[0].CopyFrom(world.bundle(stranger))), "certificate.chain"),
        "garbage as a root": (changed(lambda state: state.trust_bundles[0].roots.append(b"garbage")), "roots[1]"),
        "a lower version": ({"version": 1, "state": good}, "older than"),
        "no version": ({"state": good}, "version"),
        "a state and a delta": ({**higher, "state": good, "destinations": pb.DestinationDelta(removed=["x"])}, "never together"),
        "nothing": (higher, "says nothing"),
        "a certificate that nobody asked for": ({"certificate": csr_answer}, "certificate_request"),
        "a delta after a refusal": ({**higher, "destinations": pb.DestinationDelta(removed=["payments"])}, "send the state"),
    }


def test_what_is_not_understood_is_refused_whole_with_the_reason(world):
    world.pair()
    generation = world.client_side.status()["generation"]
    stream = world.stream("shop")
    stranger = Authority("other.example")
    rows = spoil(world, stranger)
    stranger.close()
    for row, (response, words) in rows.items():
        error = world.result("shop", stream.push(**response))
        assert words in error, f"{row}: {error!r} lacks {words!r}"
        assert "\n" not in error
        assert world.call() == b"a question", row
    assert world.client_side.status()["generation"] == generation
    assert world.client_side.metric("tabard_policy_agent_nacks_total") == len(rows)
    assert world.stream("shop") is stream, "the stream outlived all that"
    assert world.result("shop", stream.push(version=101, state=world.state(world.destination()))) == ""


def test_a_text_with_a_nul_is_refused(world):
    world.pair()
    stream = world.stream("shop")
    state = world.state(world.destination())
    state.policies[0].rules[0].principals.append(f"spiffe://{DOMAIN}/a\0.evil")
    stream.push(version=100, state=state)
    world.client_side.wait_line(msg="no stream to the policy agent")
    assert "NUL" in world.client_side.lines(msg="no stream to the policy agent")[-1]["error"]
    assert world.call() == b"a question"


@pytest.mark.parametrize("who", ["another identity", "another key"])
def test_a_renewal_with_a_wrong_certificate_is_refused_and_the_old_one_stays(world, who):
    world.seconds = 8
    world.pair()
    stream = world.stream("shop")
    assert world.result("shop", "1") == ""
    before = world.client_side.status()["certificate_not_after_unix"]
    if who == "another identity":
        world.issue_as["shop"] = OTHER
    else:
        chain = pem_to_der(world.authority.issue("web", WEB).chain.read_text())
        world.agent.certify = lambda node, csr, wanted: chain
    nonce, error = stream.results.get(timeout=10)
    assert (OTHER if who == "another identity" else "another key") in error
    status = world.client_side.status()
    assert (status["certificate_not_after_unix"], status["spiffe_id"]) == (before, WEB)


def test_without_the_policy_agent_the_sidecars_serve_on_and_come_back(world):
    world.pair()
    world.stop_serving()
    for sidecar in world.sidecars:
        sidecar.wait_line(msg="no stream to the policy agent")
        assert sidecar.metric("tabard_policy_agent_connected") == 0
    assert world.call() == b"a question"
    wait_until("the state grows old", lambda: world.client_side.metric("tabard_policy_agent_state_age_seconds") >= 1)
    assert world.client_side.metric("tabard_policy_agent_failures_total") >= 1
    assert world.client_side.http("health", "/healthz/ready")[0] == 200
    world.serve()
    for sidecar in world.sidecars:
        wait_until("connected again", lambda: sidecar.metric("tabard_policy_agent_connected") == 1, 40)
    assert world.client_side.metric("tabard_policy_agent_state_age_seconds") == 0
    assert world.call() == b"a question"


def restart_alone(world):
    """A sidecar with files for its identity, whose policy agent is gone when it starts again."""
    world.agent.set_state(world.state())
    world.serve()
    sidecar = world.payments(identity=world.authority.issue("api", API), start=True)
    wait_until("its state is stored", lambda: (sidecar.folder / "state/policy-version").exists())
    sidecar.stop()
    world.stop_serving()
    return sidecar


def test_a_restarted_sidecar_serves_by_its_stored_state(world):
    sidecar = restart_alone(world)
    stored = sidecar.folder / "state/policy-state"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in stored.read_bytes()
    mark = sidecar.mark()
    sidecar.start()
    assert sidecar.lines(mark, msg="stored state read")[0]["version"] == "1"
    assert sidecar.http("health", "/healthz/ready")[0] == 200
    status = sidecar.status()
    assert status["spiffe_id"] == API and not status["policy_agent"].get("connected")


@pytest.mark.parametrize("how", ["cut", "flipped", "another's", "writable", "older"])
def test_a_spoiled_store_is_refused_and_the_sidecar_is_not_ready(world, how):
    sidecar = restart_alone(world)
    stored = sidecar.folder / "state/policy-state"
    whole = stored.read_bytes()
    if how == "cut":
        stored.write_bytes(whole[:-1])
    elif how == "flipped":
        stored.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    elif how == "another's":
        sidecar.config["policy_agent"]["node_id"] = "somebody-else"
    elif how == "writable":
        stored.chmod(0o666)
    else:
        (sidecar.folder / "state/policy-version").write_text("7\n")
    words = {"cut": "cut short", "flipped": "SHA-256", "another's": "another node", "writable": "others may write",
             "older": "older than 7"}[how]
    mark = sidecar.mark()
    sidecar.write_config()
    sidecar.start(wait=False)
    assert words in sidecar.wait_line(mark, msg="stored state refused")["error"]
    status, text = sidecar.http("health", "/healthz/ready")
    assert status == 503
    if how == "older":
        sidecar.stop()
        sidecar.config["policy_agent"]["accept_older"] = True
        sidecar.write_config()
        sidecar.start()


def test_a_folder_that_cannot_be_written_is_counted_and_the_sidecar_serves(world):
    blocker = world.folder / "file"
    blocker.write_text("")
    world.agent.set_state(world.state())
    world.serve()
    sidecar = world.payments(access={"state": str(blocker / "below")})
    sidecar.wait_line(msg="state not stored: a restart would not find it")
    assert sidecar.metric("tabard_policy_agent_store_failures_total") == 1
    assert sidecar.http("health", "/healthz/ready")[0] == 200


def test_a_policy_agent_that_fell_back_to_an_older_version_is_refused_until_the_operator_says_so(world):
    world.pair()
    world.stop_serving()
    fallen = PolicyAgent(world.certify)
    fallen.set_state(world.state(world.destination()))
    assert fallen.version < world.agent.version
    world.agent = fallen
    mark = world.client_side.mark()
    world.serve()
    line = world.client_side.wait_line(mark, 40, msg="update refused")
    assert "older than 2" in line["error"]
    assert world.call() == b"a question"
    world.client_side.config["policy_agent"]["accept_older"] = True
    world.client_side.write_config()
    wait_until("the older version is taken", lambda: world.client_side.metric("tabard_policy_agent_version") == 1)


def test_a_join_token_is_presented_and_a_sidecar_without_one_is_told_why(world):
    class Guarded(PolicyAgent):
        def admit(self, node, context):
            if node.join_token != "a-token-of-32-bytes":
                raise PermissionError("a join token is needed, and this one isn't it")

    world.agent = Guarded(world.certify)
    world.agent.set_state(world.state())
    world.serve()
    sidecar = world.payments(start=False, access={"join_token": "token"})
    sidecar.start(wait=False)
    line = sidecar.wait_line(msg="no stream to the policy agent")
    assert line["error"] == "PERMISSION_DENIED: a join token is needed, and this one isn't it"
    assert line["token"] == "missing"
    assert "a join token is needed" in sidecar.http("health", "/healthz/ready")[1]
    (sidecar.folder / "token").write_text("a-token-of-32-bytes\n")
    sidecar.wait_line(msg="snapshot in force")
    assert "a-token-of" not in sidecar.log()


def tls_credentials(authority, spiffe_id):
    made = authority.issue("agent", spiffe_id)
    return grpc.ssl_server_credentials([(made.key.read_bytes(), made.chain.read_bytes())],
                                       authority.roots.read_bytes(), require_client_auth=False)


@pytest.mark.parametrize("expected", [f"spiffe://{DOMAIN}/policy-agent", OTHER])
def test_over_tcp_the_policy_agent_must_prove_its_identity(world, expected):
    real = f"spiffe://{DOMAIN}/policy-agent"
    world.agent.set_state(world.state())
    world.server, port = world.agent.serve("127.0.0.1:0", tls_credentials(world.authority, real))
    access = {"address": f"127.0.0.1:{port}", "identity": expected, "roots": str(world.authority.roots)}
    sidecar = world.payments(start=False, access=access)
    sidecar.start(wait=False)
    if expected == real:
        sidecar.wait_line(msg="snapshot in force")
    else:
        line = sidecar.wait_line(msg="no stream to the policy agent")
        assert f"proves {real}, and policy_agent.identity is {OTHER}" in line["error"]
        assert world.agent.sidecars == {}


HOSTILE = {
    "garbage": ([b"\xff" * 4096], ""),
    "a gigabyte": ([SETTINGS, SETTINGS_ACK, HEADERS, frame(0, 0, 1, b"\0\x40\0\0\0" + b"x" * 1000)], "message_bytes_max"),
    "half a message": ([SETTINGS, SETTINGS_ACK, HEADERS, frame(0, 0, 1, b"\0\0\0\1\0" + b"x" * 100)], ""),
    "silence": ([], ""),
    "settings and silence": ([SETTINGS, SETTINGS_ACK], ""),
    "not protobuf": ([SETTINGS, SETTINGS_ACK, HEADERS, frame(0, 0, 1, b"\0\0\0\0\4\xff\xff\xff\xff")], "no protobuf message"),
    "no nonce": ([SETTINGS, SETTINGS_ACK, HEADERS, frame(0, 0, 1, b"\0\0\0\0\2\x10\1")], "nonce"),
    "OK before any message": ([SETTINGS, SETTINGS_ACK, frame(1, 5, 1, HEADERS[9:] + b"\0\x0bgrpc-status\x010")], "OK"),
    "a GOAWAY storm": ([SETTINGS, GOAWAY], ""),
}


def test_hostile_servers_change_nothing_and_nobody_waits_for_ever(world):
    """All at once, because some of them are only given up after their deadline of 30 seconds."""
    sidecar = restart_alone(world)
    world.sidecars.remove(sidecar)
    kept, started = [], time.monotonic()
    for row, (pieces, words) in HOSTILE.items():
        path = world.folder / f"{len(kept)}.sock"
        server = Hostile(path, *pieces)
        victim = world.payments(start=False, identity=world.authority.issue("api", API), access={"address": f"unix:{path}"})
        (victim.folder / "state").mkdir()
        for name in ("policy-state", "policy-version"):
            (victim.folder / "state" / name).write_bytes((sidecar.folder / "state" / name).read_bytes())
            (victim.folder / "state" / name).chmod(0o600)
        victim.start()
        kept.append((row, words, server, victim))
    sidecar.close()
    for row, words, server, victim in kept:
        line = victim.wait_line(seconds=45, msg="no stream to the policy agent")
        assert words in line["error"], (row, line)
        wait_until(f"{row}: it tries again", lambda: server.num_connections > 1, 40)
        assert victim.http("health", "/healthz/ready")[0] == 200, row
        status = victim.status()
        assert (status["generation"], status["policy_agent"]["version"]) == (1, 1), row
        # Full jitter from a second on: never a storm of our own.
        assert server.num_connections < 8 + (time.monotonic() - started), row
        server.close()
