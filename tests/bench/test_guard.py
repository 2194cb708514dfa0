# SPDX-License-Identifier: Apache-2.0
"""The relay and the handshake cost no more instructions, allocations and system calls than the committed budget says."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import guard  # noqa: E402


def test_requests_and_connections_stay_within_the_instruction_budget():
    reason = guard.why_not()
    if reason:
        pytest.skip(f"tests/bench/guard.py: {reason}")
    counted, calls = guard.count()
    over = guard.over_budget(counted)
    assert not over, "\n".join([*over, f"calls: {calls}", "see tests/bench/guard.py"])
