# SPDX-License-Identifier: Apache-2.0
"""What the tests of deploy/ share: its scripts and the end-to-end tests' helpers, importable by name."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / folder) for folder in ("tests/e2e", "deploy/image", "deploy/sbom", "deploy/proto", "deploy/crds", "deploy/man")]
