# SPDX-License-Identifier: Apache-2.0
"""What the tests of deploy/ share: its scripts and the end-to-end tests' helpers, importable by name."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/e2e"), str(ROOT / "deploy/image"), str(ROOT / "deploy/sbom"), str(ROOT / "deploy/crds")]
