# SPDX-License-Identifier: Apache-2.0
"""Programs and certificates that the interop tests share."""
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def grpc_peer_path():
    """The peer that Bazel built: ./dev test builds //tests/interop:grpc_peer. GRPC_PEER names another one."""
    return Path(os.environ.get("GRPC_PEER", REPO / "bazel-bin/tests/interop/grpc_peer"))


@pytest.fixture(scope="session")
def peer():
    path = grpc_peer_path()
    assert path.exists(), f"{path} is missing: bazel build //tests/interop:grpc_peer"
    return path


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(prefix="grpc-"))  # short: a Unix socket's path has 107 bytes
    yield made
    shutil.rmtree(made)


class Certificates:
    """A CA and a leaf for localhost, made by openssl, which both sides present."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="grpc-ca-"))
        self.roots, self.chain, self.key = (self.folder / name for name in ("ca.pem", "leaf.pem", "leaf.key"))
        config = self.folder / "config"
        config.write_text("[leaf]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                     "-subj", "/CN=test root", "-keyout", self.folder / "ca.key", "-out", self.roots)
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=leaf",
                     "-keyout", self.key, "-out", self.folder / "csr")
        self.openssl("x509", "-req", "-in", self.folder / "csr", "-CA", self.roots, "-CAkey", self.folder / "ca.key",
                     "-CAcreateserial", "-days", "1", "-extfile", config, "-extensions", "leaf", "-out", self.chain)

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)

    def files(self):
        return [self.chain, self.key, self.roots]


@pytest.fixture(scope="session")
def certificates():
    made = Certificates()
    yield made
    shutil.rmtree(made.folder)


@pytest.fixture(params=["unix", "tls"])
def transport(request):
    return request.param


class Served:
    """Our echo service in a process of its own."""

    def __init__(self, peer, target, files):
        self.process = subprocess.Popen([peer, "serve", target, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        assert line[:1] == ["listening"], self.process.communicate()
        self.address = line[1]
        self.is_told = False

    def tell(self):
        """Asks it to end, once: calls may finish."""
        if not self.is_told:
            self.is_told = True
            self.process.terminate()

    def close(self):
        """It must end well: sanitizers speak through the exit status."""
        self.tell()
        _, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, errors


@pytest.fixture
def served(peer, transport, folder, certificates):
    if transport == "unix":
        made = Served(peer, f"unix:{folder}/s", [])
    else:
        made = Served(peer, "127.0.0.1:0", certificates.files())
    yield made
    made.close()


def run_our_client(peer, address, files):
    """Our client against somebody else's echo service: every case must be right."""
    done = subprocess.run([peer, "call", address, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) >= 20 and all(line.startswith("ok ") for line in lines), done.stdout
