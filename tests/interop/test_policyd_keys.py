# SPDX-License-Identifier: Apache-2.0
"""policyd has its CA's key in memory only while it signs."""
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
if os.geteuid() != 0:
    pytest.skip("needs root: policyd's memory is closed to others", allow_module_level=True)

from policyd import Policyd, Sidecar, csr, fleet  # noqa: E402  (e2e is on the path from here on)

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "e2e/keys")]

from memory import KINDS, find, forms  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
def test_the_ca_s_key_is_nowhere_in_policyd_when_it_has_signed(kind):
    policyd = Policyd(fleet(), key=kind)
    try:
        wanted = forms(policyd.folder / "ca/ca.key")
        with Sidecar(policyd) as sidecar:
            sidecar.take()
            for _ in range(3):
                sidecar.ask(csr()[0])
                assert sidecar.take().HasField("certificate")
        assert find(policyd.process.pid, wanted) == {}
    finally:
        policyd.close()
