# SPDX-License-Identifier: Apache-2.0
"""Sidecars whose policy agent is gone, fell back, or is hostile: the last good state stays, in memory and on disk."""
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")
pytest.importorskip("grpc_tools", reason="python3-grpc-tools is missing: apt-get install python3-grpc-tools")

from policy_world import (API, GOAWAY, HEADERS, SETTINGS, SETTINGS_ACK, Hostile, PolicyAgent, frame, run, wait_until,  # noqa: E402
                          world)  # noqa: E402,F401


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
    text = run("tabardctl", "status", "--admin", world.client_side.folder / "admin.sock").stdout
    assert f"policy from: {world.address}, version 2, not connected" in text and "s ago" in text
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


def test_tabardctl_check_knows_a_sidecar_that_follows(world):
    sidecar = world.payments(start=False)
    done = run("tabardctl", "check", sidecar.folder / "mesh.yaml")
    assert f"follows the policy agent at {world.address}, 1 inbound port" in done.stdout
    sidecar.write_config('policy_agent: {address: "nowhere"}\n')
    done = run("tabardctl", "check", sidecar.folder / "mesh.yaml", check=False)
    assert done.returncode == 1
    assert "mesh.yaml:1:25: policy_agent.address: neither unix:PATH nor IP:PORT" in done.stderr


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
    words = {"cut": "cut short", "flipped": "SHA-256", "another's": "another sidecar", "writable": "others may write",
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
    world.agent.set_state(world.state())
    world.serve()
    kept, started = [], time.monotonic()
    for number, (row, (pieces, words)) in enumerate(HOSTILE.items()):
        server = Hostile(world.folder / f"{number}.sock", *pieces)
        victim = world.payments()
        kept.append((row, words, server, victim, victim.mark(), victim.status()["generation"]))
        victim.config["policy_agent"]["address"] = f"unix:{world.folder}/{number}.sock"
        victim.write_config()
    for row, words, server, victim, mark, generation in kept:
        line = victim.wait_line(mark, 45, msg="no stream to the policy agent")
        assert words in line["error"], (row, line)
        wait_until(f"{row}: it tries again", lambda: server.num_connections > 1, 40)
        assert victim.http("health", "/healthz/ready")[0] == 200, row
        status = victim.status()
        assert (status["generation"], status["policy_agent"]["version"]) == (generation, 1), row
        # Full jitter from a second on: never a storm of our own.
        assert server.num_connections < 8 + (time.monotonic() - started), row
        server.close()
