# SPDX-License-Identifier: Apache-2.0
"""net/grpc against @grpc/grpc-js, in both roles, over a Unix socket and under mutual TLS."""
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import run_our_client

VERSION = "1.14.0"
SCRIPT = Path(__file__).with_name("grpc_js_peer.js")


@pytest.fixture(scope="session")
def environment():
    """Installs grpc-js into a scratch folder. GRPC_JS names a folder that holds node_modules already."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: @grpc/grpc-js can't be tried")
    given = os.environ.get("GRPC_JS")
    scratch = Path(given or tempfile.mkdtemp(prefix="grpc-js-"))
    if not given:
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", scratch, f"@grpc/grpc-js@{VERSION}"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
        except subprocess.TimeoutExpired:
            pytest.skip("npm gave no answer: @grpc/grpc-js can't be installed")
        if done.returncode != 0:
            pytest.skip(f"@grpc/grpc-js can't be installed: {done.stdout.strip().splitlines()[-1:]}")
    yield {**os.environ, "NODE_PATH": str(scratch / "node_modules")}
    if not given:
        shutil.rmtree(scratch)


@pytest.fixture
def js_server(environment, transport, folder, certificates):
    target, files = (f"unix:{folder}/s", []) if transport == "unix" else ("127.0.0.1:0", certificates.files())
    process = subprocess.Popen(["node", SCRIPT, "serve", target, *files], env=environment, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline().split()
    assert line[:1] == ["listening"], process.communicate()
    yield line[1]
    process.communicate(timeout=20)  # closes its input, which ends it


def test_our_client_and_a_js_server_agree_on_every_case(peer, js_server, transport, certificates):
    run_our_client(peer, js_server, certificates.files() if transport == "tls" else [])


def test_a_js_client_and_our_server_agree_on_every_case(environment, served, transport, certificates):
    files = certificates.files() if transport == "tls" else []
    done = subprocess.run(["node", SCRIPT, "call", served.address, *files], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") >= 7, done.stdout
