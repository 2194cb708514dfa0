# SPDX-License-Identifier: Apache-2.0
"""Go 1.27 and OpenSSL 3.5, which know ML-DSA and X25519MLKEM768, as peers of a sidecar in both roles, and as CAs."""
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ca import Authority, Certificate
from mesh import API, DOMAIN, WEB, Agent, Service, connect, exchange, run, split_address, wait_until
from pair import FORWARD, client_config, identity, server_config, serving

GO = "go1.27.3"
MLKEM768, X25519 = 4588, 29  # NamedGroups, as numbers
KINDS = ["p256", "ml-dsa-44", "ml-dsa-65"]
GO_KEYS = {"p256": "ECDSA", "ml-dsa-44": "ML-DSA", "ml-dsa-65": "ML-DSA"}


@pytest.fixture(scope="module")
def authority():
    with contextlib.closing(Authority(DOMAIN)) as made:
        yield made


@functools.lru_cache(None)
def go_peer():
    """The program, or why there is none."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return None, "go is not installed"
    program = Path(tempfile.mkdtemp(prefix="tabard-go-"), "peer")
    source = Path(__file__).with_name("post_quantum_peer.go")
    environment = {**os.environ, "GOTOOLCHAIN": GO, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    done = subprocess.run([go, "build", "-o", program, source], cwd=program.parent, env=environment, capture_output=True, text=True, timeout=600)
    is_missing = done.returncode != 0 and "toolchain" in done.stderr
    assert done.returncode == 0 or is_missing, done.stderr
    return (None, f"{GO} can't be fetched: {done.stderr.strip()}") if is_missing else (program, None)


@pytest.fixture(scope="module")
def go():
    program, why = go_peer()
    if program is None:
        pytest.skip(f"Go's crypto/tls is not asked: {why}")

    def ask(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else done.stderr
    ask.program = program
    return ask


@contextlib.contextmanager
def go_server(go, certificate, roots, groups):
    with subprocess.Popen([go.program, "server", certificate.chain, certificate.key, roots, groups], stdout=subprocess.PIPE, text=True) as peer:
        try:
            peer.address = split_address(peer.stdout.readline().strip())
            yield peer
        finally:
            peer.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_go_and_a_sidecar_prove_themselves_to_each_other(go, kind):
    with contextlib.closing(Authority(DOMAIN, key=kind)) as authority:
        api, web = (authority.issue(name, of, "--key", kind) for name, of in (("api", API), ("web", WEB)))
        with serving(authority, certificate=api) as server:
            address = "%s:%d" % server.address("127.0.0.1:0")
            said = json.loads(go("client", address, web.chain, web.key, authority.roots, "-"))
            assert said == {"Group": "X25519MLKEM768", "Retried": False, "Key": GO_KEYS[kind], "ID": API, "Answer": "hello",
                            "Signature": {"p256": "ECDSA-SHA256"}.get(kind, kind.upper())}
        with go_server(go, api, authority.roots, "-") as peer, \
                contextlib.closing(Agent("shop", client_config(authority, peer.address, certificate=web))) as client:
            with connect(client.address(FORWARD)) as sock:
                assert exchange(sock, b"hello") == b"hello"
            said = json.loads(peer.stdout.readline())
            assert (said["Group"], said["Key"], said["ID"], said["Retried"]) == ("X25519MLKEM768", GO_KEYS[kind], WEB, False)


def test_go_is_left_with_less_than_ml_kem_only_where_it_has_nothing_else(go, authority):
    web = authority.issue("web", WEB)

    def call(groups):
        return go("client", address, web.chain, web.key, authority.roots, groups)
    with serving(authority) as server:
        address = "%s:%d" % server.address("127.0.0.1:0")
        for groups, group in [(f"{X25519},{MLKEM768}", "X25519MLKEM768"), (f"{X25519}", "X25519")]:
            mark = server.mark()
            assert json.loads(call(groups))["Group"] == group
            assert server.wait_conn(mark)["group"] == group
        server.config["settings"]["key_exchange"] = "POST_QUANTUM"
        server.apply()
        assert json.loads(call(f"{X25519},{MLKEM768}"))["Group"] == "X25519MLKEM768"
        mark = server.mark()
        assert "handshake failure" in call(f"{X25519}")
        assert server.wait_conn(mark, reason="no_shared_group")["detail"] == "the peer offers no X25519MLKEM768, and settings.key_exchange demands it"
    api = authority.issue("api", API)
    with go_server(go, api, authority.roots, f"{X25519}") as peer, \
            contextlib.closing(Agent("shop", client_config(authority, peer.address, key_exchange="POST_QUANTUM"))) as client:
        mark = client.mark()
        with contextlib.suppress(ConnectionError), connect(client.address(FORWARD)) as sock:
            assert exchange(sock, b"hello") == b""
        assert "the server may not know X25519MLKEM768" in client.wait_conn(mark, reason="peer_alert")["detail"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_go_s_ca_makes_serves_a_sidecar(go, kind, tmp_path):
    go("mint", tmp_path, kind, API)
    made = Certificate(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    assert go("check", tmp_path / "roots.pem", made.chain, tmp_path / "crl.pem") == ""
    with contextlib.closing(Authority(DOMAIN)) as ours, contextlib.closing(Service()) as service:
        config = server_config(ours, service.address, certificate=made)
        config["trust_bundles"] = [{"trust_domain": DOMAIN, "roots": str(tmp_path / "roots.pem")}]
        with contextlib.closing(Agent("payments", config)) as server:
            address = "%s:%d" % server.address("127.0.0.1:0")
            mark = server.mark()
            said = go("client", address, made.chain, made.key, tmp_path / "roots.pem", "-")
            assert server.wait_conn(mark)["reason"] == "policy_denied", said  # it proves that it is API, which may not call
            server.config["trust_bundles"][0]["crls"] = str(tmp_path / "crl.pem")
            assert "revoked" in server.refuse()["error"]


@pytest.mark.parametrize("kind", KINDS)
def test_go_takes_what_tabard_ca_makes_and_signs_its_requests(go, kind, tmp_path):
    with contextlib.closing(Authority(DOMAIN, key=kind)) as root, contextlib.closing(Authority(DOMAIN, parent=root, key=kind)) as between:
        leaf, revoked = between.issue("web", WEB, "--key", kind), root.issue("web", WEB, "--key", kind)
        assert go("check", root.roots, leaf.chain) == ""
        assert go("check", root.roots, revoked.chain, root.revoke(revoked)) == ""
        go("mint", tmp_path, kind, WEB)
        run("tabard-ca", "sign-csr", "--dir", between.ca, "--csr", tmp_path / "leaf.csr", "--id", WEB, "--out-cert", tmp_path / "signed")
        assert go("check", root.roots, tmp_path / "signed") == ""


@pytest.fixture(scope="module")
def openssl():
    program = os.environ.get("OPENSSL35", "openssl")
    said = subprocess.run([program, "version"], capture_output=True, text=True).stdout if shutil.which(program) else "OpenSSL: none"
    version = re.match(r"OpenSSL (\d+)\.(\d+)", said)
    if not version or tuple(map(int, version.groups())) < (3, 5):
        pytest.skip(f"OpenSSL 3.5 is not asked: {said.strip()} is what there is; OPENSSL35 may name another program")

    def ask(*arguments, text="", ok=True):
        done = subprocess.run([program, *map(str, arguments)], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode == 0 or not ok, done.stdout
        return done.stdout
    ask.program = program
    return ask


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_and_a_sidecar_prove_themselves_to_each_other(openssl, kind):
    with contextlib.closing(Authority(DOMAIN, key=kind)) as authority:
        api, web = (authority.issue(name, of, "--key", kind) for name, of in (("api", API), ("web", WEB)))
        assert "OK" in openssl("verify", "-x509_strict", "-CAfile", authority.roots, web.chain)
        assert "verify OK" in openssl("crl", "-in", authority.revoke(authority.issue("x", WEB)), "-noout", "-CAfile", authority.roots)
        common = ["-cert", web.chain, "-key", web.key, "-CAfile", authority.roots, "-ign_eof"]

        def say(sock):
            sock.sendall(sock.recv(100))
        with serving(authority, handler=say, certificate=api) as server:
            address = "%s:%d" % server.address("127.0.0.1:0")
            # The second prefers X25519 and has a share of it alone: it is asked for the other by a HelloRetryRequest.
            for groups in ("X25519MLKEM768", "X25519:X25519MLKEM768"):
                mark = server.mark()
                said = openssl("s_client", "-connect", address, "-groups", groups, *common, text="hello\n", ok=False)
                assert "hello" in said and "Verification: OK" in said, said
                assert server.wait_conn(mark)["group"] == "X25519MLKEM768"
        with subprocess.Popen(list(map(str, [
                openssl.program, "s_server", "-accept", "127.0.0.1:0", "-cert", api.chain, "-key", api.key, "-CAfile", authority.roots,
                "-Verify", "3", "-verify_return_error", "-tls1_3", "-rev"])), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            try:
                listening = next(line for line in peer.stdout if line.startswith("ACCEPT"))
                at = split_address(listening.split()[1])
                with contextlib.closing(Agent("shop", client_config(authority, at, certificate=web))) as client:
                    with connect(client.address(FORWARD)) as sock:
                        assert exchange(sock, b"olleh\n") == b"hello\n"
            finally:
                peer.kill()


def test_a_key_that_openssl_wrote_is_read_as_its_seed_and_in_no_other_form(openssl, authority, tmp_path):
    for form, words in [(None, "output_formats=seed-only"), ("priv-only", "output_formats=seed-only"), ("seed-only", None)]:
        key, csr, chain = tmp_path / f"{form}.key", tmp_path / f"{form}.csr", tmp_path / f"{form}.pem"
        how = ["-provparam", f"ml-dsa.output_formats={form}"] if form else []
        openssl("genpkey", "-algorithm", "ML-DSA-44", *how, "-out", key)
        openssl("req", "-new", "-key", key, "-subj", "/CN=x", "-out", csr)
        run("tabard-ca", "sign-csr", "--dir", authority.ca, "--csr", csr, "--id", API, "--out-cert", chain)
        with serving(authority) as server:
            server.config["identity"] = identity(Certificate(chain, key))
            if words is None:
                server.apply()
                wait_until("it is in force", lambda: server.status()["certificate_key"] == "ML-DSA-44")
            else:
                error = server.refuse()["error"]
                assert "identity.key" in error and words in error, error
                openssl("pkey", "-in", key, "-provparam", "ml-dsa.output_formats=seed-only", "-out", tmp_path / "seed", ok=form is None)
