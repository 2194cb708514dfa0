# SPDX-License-Identifier: Apache-2.0
"""What docs/performance.md and README say of the bench is what docs/bench.json holds."""
import json

import pytest
import summary
from host import ROOT


@pytest.mark.parametrize("file, name, make", summary.PLACES, ids=[name for _, name, _ in summary.PLACES])
def test_the_tables_are_those_of_the_rows(file, name, make):
    rows = json.loads((ROOT / "docs/bench.json").read_text())
    _, marker, after = (ROOT / file).read_text().partition(f"<!-- bench: {name} -->\n")
    assert marker and after.partition("\n\n")[0] == make(rows), "run tests/bench/summary.py docs/bench.json --write"
