# SPDX-License-Identifier: Apache-2.0
"""gRPC's own stack in plain HTTP/2, and Java's in plain HTTP and over TLS of its own."""
import sys
from pathlib import Path

import pytest

from world import missing

HERE = Path(__file__).parent


def test_grpc_calls_and_streams(world):
    pytest.importorskip("grpc", reason="not installed: python3-grpcio")
    address = f"{world.network['server'].ipv4}:50051"
    world.start("server", "grpc", 50051, sys.executable, "-B", HERE / "grpc_app.py", "serve", address)
    text = world.same("grpc", lambda: world.run("client", sys.executable, "-B", HERE / "grpc_app.py", "call", address).stdout)
    assert text == "40 rounds, 0 failures\n"


def test_java_calls_in_plain_and_over_tls_of_its_own(world):
    reason = missing("java", "javac", "keytool")
    if reason:
        pytest.skip(reason)
    host, store, classes = world.network["server"].ipv4, world.folder / "store.p12", world.folder / "classes"
    world.run("server", "javac", "-d", classes, HERE / "Web.java")
    world.run("server", "keytool", "-genkeypair", "-keyalg", "EC", "-dname", "CN=web", "-ext", f"san=ip:{host}", "-keystore", store,
              "-storepass", "changeit", "-storetype", "PKCS12", "-alias", "web")
    world.start("server", "java", 8080, "java", "-cp", classes, "Web", "serve", host, store)
    text = world.same("java", lambda: world.run("client", "java", "-cp", classes, "Web", "call", host, store).stdout)
    assert text == "".join(f"{scheme}: 200 of 200 answers are right\n" for scheme in ("http", "https"))
