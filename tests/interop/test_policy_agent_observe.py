# SPDX-License-Identifier: Apache-2.0
"""A policy agent that lets its sidecars observe before they enforce."""
import pytest

pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")
pytest.importorskip("grpc_tools", reason="python3-grpc-tools is missing: apt-get install python3-grpc-tools")

from mesh import wait_until  # noqa: E402
from policy_world import DOMAIN, PORT, WEB, connect, exchange, mesh_pb2, run, world  # noqa: E402,F401

OTHER = f"spiffe://{DOMAIN}/ns/lobby/sa/stranger"


def test_the_policy_agent_says_when_to_observe_and_when_to_enforce_and_the_stricter_word_holds(world):
    world.pair()
    world.stream("payments")
    nobody = world.state(world.destination(), principals=[OTHER])

    def push(enforcement):
        nobody.enforcement = mesh_pb2.Settings.Enforcement.Value(enforcement)
        for name, nonce in zip(list(world.agent.sidecars), world.agent.set_state(nobody)):
            assert world.result(name, nonce) == ""

    def explain(*question):
        return run("tabardctl", "explain", *question, "--from", WEB, "--source", "127.0.0.1", "--port", PORT, check=False)

    sidecar = "--admin", world.server_side.folder / "admin.sock"
    assert explain(*sidecar).stdout == "allowed: by policy shop-may-pay, rule 0\n"
    push("OBSERVE")
    done = explain(*sidecar)
    assert done.returncode == 0 and "denied: by default" in done.stdout and "served all the same, and counted" in done.stdout
    assert "ask the sidecar by --admin" in explain("--config", world.server_side.folder / "mesh.yaml").stderr
    mark = world.server_side.mark()
    assert world.call() == b"a question"
    assert world.server_side.wait_conn(mark, reason="finished")["would"] == "policy_denied"
    assert world.server_side.status()["enforcement"] == "OBSERVE"
    with connect(world.client_side.address("127.0.0.1:0")) as sock:
        assert exchange(sock, b"while observing") == b"while observing"
        push("ENFORCEMENT_UNSPECIFIED")
        world.server_side.wait_conn(mark, reason="policy_revoked")
    assert world.call() == b""
    push("OBSERVE")
    world.server_side.config["settings"] = {"enforcement": "ENFORCE"}
    world.server_side.apply()
    mark = world.server_side.mark()
    assert world.call() == b""
    world.server_side.wait_conn(mark, reason="policy_denied")
    assert world.server_side.status()["enforcement_by"] == "mesh.yaml"
    # The same the other way round, by steps of which each puts something else in force.
    world.server_side.config["settings"] = {"enforcement": "OBSERVE"}
    world.server_side.apply()
    assert world.server_side.status()["enforcement_by"] == "mesh.yaml and policy agent"
    push("ENFORCE")
    wait_until("the policy agent enforces", lambda: world.server_side.status()["enforcement_by"] == "policy agent")
    mark = world.server_side.mark()
    assert world.call() == b""
    world.server_side.wait_conn(mark, reason="policy_denied")
