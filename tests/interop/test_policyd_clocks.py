# SPDX-License-Identifier: Apache-2.0
"""policyd and sidecars whose clocks are wrong at boot, each in both directions: what is late heals by itself, and opens nothing meanwhile."""
import contextlib
import subprocess

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from clocks import Clock  # noqa: E402
from policyd import CALLER  # noqa: E402
from policyd_pair import QUESTION, Pair  # noqa: E402
from mesh import PROGRAMS, connect, exchange, is_reset_or_closed  # noqa: E402


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.mark.parametrize("is_policyd_fast", [True, False], ids=["the sidecars are slow", "policyd is slow, too"])
def test_a_revocation_made_ahead_of_the_clock_counts_at_once(stack, is_policyd_fast):
    fast, policyd_clock = stack.enter_context(Clock(90)), stack.enter_context(Clock())
    pair = Pair(stack, clocks={"policyd": policyd_clock})
    assert pair.call() == QUESTION
    policyd_clock.set(90 if is_policyd_fast else 0)
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
