# SPDX-License-Identifier: Apache-2.0
"""What the programs say of their own version and of their libraries'."""
import os
import re
import subprocess

import pytest

from listed_metrics import build_info, versions
from mesh import PROGRAMS, ROOT
from pair import Pair

# Functions of it that say more than its version, and the package that it is built against.
LIBRARIES = {"boringssl": ("OPENSSL_malloc", None), "libuv": (r"uv_(?!version)\w+", "libuv1-dev"),
             "protobuf_c": (r"protobuf_c_(?!version)\w+", "libprotobuf-c-dev"),
             "nghttp2": (r"nghttp2_(?!version)\w+", "libnghttp2-dev")}


def built_against(label):
    package = LIBRARIES[label][1]
    if package:
        version = subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}", package], text=True)
        return re.match(r"(?:\d+:)?([0-9.]+)", version).group(1)
    locked = (ROOT / "bazel/crates/Cargo.lock").read_text()
    crate = re.search(r'name = "boring-sys"\nversion = "(.*)"', locked).group(1)
    return "an installed prefix" if os.environ.get("BORINGSSL_ROOT") else f"boring-sys {crate}"


@pytest.mark.parametrize("program", ["tabard-agent", "tabard-proxy", "tabard-ca", "tabardctl", "tabard-policyd"])
def test_version_names_the_libraries_that_the_program_links_and_no_others(program):
    symbols = subprocess.check_output(["nm", PROGRAMS[program]], text=True)
    linked = {label for label, (functions, _) in LIBRARIES.items() if re.search(rf" (?:{functions})(@\S+)?$", symbols, re.M)}
    said = versions(program)
    assert said.pop("version") == re.search('TABARD_VERSION "(.*)"', (ROOT / "base/version.h").read_text()).group(1)
    assert set(said) == linked
    assert re.fullmatch(rf"API \d+ of {re.escape(built_against('boringssl'))}", said.pop("boringssl"))
    assert said == {label: built_against(label) for label in said}


def test_a_metric_of_agent_and_proxy_carries_what_version_says(authority, keep):
    pair = keep(Pair(authority))
    page = pair.server.http("metrics", "/metrics")[1]
    assert build_info(page, "tabard_build_info") == versions("tabard-agent")
    assert build_info(page, "tabard_proxy_build_info") == versions("tabard-proxy")
