# SPDX-License-Identifier: Apache-2.0
"""policyd and sidecars whose clocks are wrong at boot, each in both directions: what is late heals by itself, and opens nothing meanwhile."""
import contextlib
import subprocess

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from clock import Clock  # noqa: E402
from policyd import CALLER, Policyd, workload  # noqa: E402
from policyd_pair import QUESTION, Pair  # noqa: E402
from mesh import PROGRAMS, Agent, connect, exchange, is_reset_or_closed, wait_until  # noqa: E402


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.mark.parametrize("is_policyd_fast", [True, False], ids=["the sidecars are slow", "policyd is slow, too"])
def test_a_revocation_made_ahead_of_the_clock_counts_at_once(stack, is_policyd_fast):
    fast, policyd_clock = stack.enter_context(Clock(90)), stack.enter_context(Clock())
    pair = Pair(stack, clocks={"policyd": policyd_clock})
    assert pair.call() == QUESTION
    policyd_clock.set_wall(90 if is_policyd_fast else 0)
    serial = pair.caller.status()["certificate_serial"]
    mark, heard = pair.api.mark(), pair.policyd.mark()
    with connect(pair.caller.address("127.0.0.1:0")) as sock:
        assert exchange(sock, QUESTION) == QUESTION
        subprocess.run([*fast.prefix, PROGRAMS["tabard-ca"], "revoke", "--dir", pair.policyd.folder / "ca", "--serial", serial], check=True)
        assert is_reset_or_closed(sock), "whoever has it is cut off"
    assert pair.api.wait_conn(mark, dir="inbound", reason="revoked")["peer"] == CALLER
    assert not pair.policyd.lines(heard, msg="refused by sidecar") and not pair.policyd.lines(heard, msg="update refused")
    if not is_policyd_fast:
        assert "seconds ahead of this host's clock" in pair.policyd.wait_line(heard, msg="the trust needs a look")["note"]


def join(stack, clocks):
    """A sidecar that has nothing but a join token, and its policyd."""
    prefixes = {name: clock.prefix for name, clock in clocks.items()}
    policyd = Policyd({"workloads": [workload("api", "127.0.0.1/32")]}, prefix=prefixes.get("policyd", ()))
    stack.callback(policyd.close)
    token = policyd.folder / "join.token"
    token.write_text(policyd.token("api"))
    access = {"address": f"unix:{policyd.unix}", "join_token": str(token), "state": str(policyd.folder / "api.state"), "addresses": ["127.0.0.1"]}
    agent = Agent("api", {"policy_agent": access}, start=False, prefix=prefixes.get("api", ()))
    stack.callback(agent.close)
    agent.start(wait=False)
    return policyd, agent


@pytest.mark.parametrize("loses_stream", [False, True], ids=["on its stream", "on another stream"])
@pytest.mark.parametrize("who, seconds", [("api", -90), ("policyd", 90)], ids=["the sidecar is slow", "policyd is fast"])
def test_a_join_with_a_wrong_clock_succeeds_with_its_token_once_the_clock_is_right(stack, who, seconds, loses_stream):
    clock = stack.enter_context(Clock(seconds))
    policyd, agent = join(stack, {who: clock})
    assert "not valid before" in policyd.wait_line(msg="refused by sidecar")["error"]
    assert not agent.lines(msg="snapshot in force")
    if loses_stream:
        policyd.stop()
        policyd.wait_line(msg="join token given back: nothing that it admitted to was accepted", certificate="not_accepted")
        line = agent.wait_line(msg="no stream to the policy agent")
        assert "; before that: " in line["error"] and "not valid before" in line["error"], "the first cause stays visible"
    clock.set_wall(0)
    if loses_stream:
        policyd.start()
    agent.wait_line(seconds=30, msg="snapshot in force")
    wait_until("the token is spent", lambda: list((policyd.folder / "tokens/used").iterdir()))


@pytest.mark.parametrize("who, seconds", [("api", 90), ("policyd", -90)], ids=["the sidecar is fast", "policyd is slow"])
def test_a_join_with_a_clock_that_is_wrong_the_other_way_succeeds_at_once(stack, who, seconds):
    policyd, agent = join(stack, {who: stack.enter_context(Clock(seconds))})
    agent.wait_line(msg="snapshot in force")
    assert not policyd.lines(msg="refused by sidecar")
