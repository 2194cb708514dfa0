# SPDX-License-Identifier: Apache-2.0
"""Real sidecars that follow policy_agent.py: identity, policy, deltas, rotation, refusals, who is admitted."""
import base64
import ssl
import threading
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")
pytest.importorskip("grpc_tools", reason="python3-grpc-tools is missing: apt-get install python3-grpc-tools")

from policy_world import (API, DOMAIN, WEB, Authority, PolicyAgent, mesh_pb2, pb, pem_to_der, wait_until,  # noqa: E402
                          world)  # noqa: E402,F401

OTHER = f"spiffe://{DOMAIN}/ns/lobby/sa/stranger"


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
    world.payments(access={"addresses": None})
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


def test_a_revoked_peer_is_cut_off_by_a_pushed_crl_until_it_is_given_another_certificate(world):
    world.pair()
    assert world.call() == b"a question"
    chain = world.client_side.folder / "seen.pem"
    issued = []
    certify = world.agent.certify
    world.agent.certify = lambda *asked: issued.append(certify(*asked)) or issued[-1]
    mark = world.client_side.mark()
    world.client_side.stop()
    world.client_side.start()
    stream = world.stream("shop")
    assert issued, world.client_side.log(mark)
    assert world.call() == b"a question"
    chain.write_text(ssl.DER_cert_to_PEM_cert(issued[-1][0]))
    world.authority.revoke(type("Issued", (), {"chain": chain, "key": None}))
    state = world.state(world.destination())
    state.trust_bundles[0].crls.append(ssl_crl(world.authority.crl))
    asked = []

    def refuse(*request):
        asked.append(request)
        raise PermissionError("not while the test looks")

    world.agent.certify = refuse
    world.agent.set_state(state)
    wait_until("the revoked caller is refused", lambda: world.call() == b"")
    assert world.server_side.wait_conn(reason="revoked")
    # It keeps what it has, and nobody answers it, until the policy agent issues a certificate.
    before = world.client_side.status()["certificate_serial"]
    wait_until("it asks for a new one", lambda: asked)
    error = wait_until("the state was refused", lambda: [error for _, error in list(stream.results.queue) if error])[0]
    assert "waits for a new certificate" in error and "revoked" in error
    assert world.client_side.status()["policy_agent"]["version"] == 2 and world.call() == b""
    world.agent.certify = certify
    wait_until("it has a new one", lambda: world.client_side.status()["certificate_serial"] != before)
    wait_until("its state has come into force with it", lambda: world.client_side.status()["policy_agent"]["version"] == 3)
    wait_until("it is answered again", lambda: world.call() == b"a question")
    assert world.stream("shop") is stream and world.client_side.metric("tabard_policy_agent_failures_total") == 0


def ssl_crl(path):
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


def test_mesh_yaml_s_own_part_changes_beside_the_policy_agent_s(world):
    world.pair()
    assert world.call() == b"a question"
    config = world.server_side.config
    config["settings"] = {"drain_seconds": 3}
    world.server_side.apply()
    assert world.call() == b"a question"
    config["inbound_ports"].append({"port": 70000, "mode": "MTLS"})
    assert "inbound_ports[1].port" in world.server_side.refuse()["error"]
    assert world.call() == b"a question"
    config["inbound_ports"].pop()
    config["policies"] = []
    config["destinations"] = [{"name": "d", "addresses": ["10.0.0.1"], "mode": "PLAINTEXT"}]
    assert "destinations: the policy agent gives these" in world.server_side.refuse()["error"]
    assert world.call() == b"a question"


def test_a_sidecar_moves_from_files_to_a_policy_agent_and_back(world):
    certificate = world.authority.issue("api", API)
    world.agent.set_state(world.state(principals=[OTHER]))
    world.serve()
    sidecar = world.payments(identity=certificate)
    followed = dict(sidecar.config)
    del sidecar.config["policy_agent"]
    sidecar.config["trust_bundles"] = [{"trust_domain": DOMAIN, "roots": str(world.authority.roots)}]
    sidecar.apply()
    assert "policy_agent" not in sidecar.status()
    wait_until("the stream has ended", lambda: not world.agent.sidecars)
    sidecar.config = followed
    sidecar.apply()
    world.stream("payments")
    assert sidecar.status()["policy_agent"]["version"] == 1


def test_another_policy_agent_can_be_followed_without_a_pause(world):
    world.pair()
    second = PolicyAgent(world.certify)
    second.version = world.agent.version
    second.set_state(world.state(world.destination(), principals=[WEB, OTHER]))
    server, _ = second.serve(f"unix:{world.folder}/second.sock")
    try:
        for sidecar in world.sidecars:
            sidecar.config["policy_agent"]["address"] = f"unix:{world.folder}/second.sock"
            sidecar.write_config()
        wait_until("both have moved", lambda: set(second.sidecars) == {"payments", "shop"} and not world.agent.sidecars)
        wait_until("its version is in force", lambda: all(
            sidecar.metric("tabard_policy_agent_version") == second.version for sidecar in world.sidecars))
        assert world.call() == b"a question"
    finally:
        server.stop(0)
