# SPDX-License-Identifier: Apache-2.0
"""Weak signatures and keys in what is no certificate of a chain: CRLs, signing requests, and a CA's own key."""
import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import judges
from minted import DAY, NOW, Cert, leaf, pem

TABARD_CA = Path(os.environ.get("TABARD_BIN", judges.REPO / "bazel-bin"), "certs/ca/tabard-ca")
PSS = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]
MASK_SHA1 = [*PSS, "-sigopt", "rsa_mgf1_md:sha1"]
SIGNATURES = [("sha256", [], ""), ("sha256", PSS, ""), ("sha1", [], "RSA-SHA1"), ("sha1", PSS, "SHA1"),
              ("sha256", MASK_SHA1, "mask is made with SHA1")]


def openssl(folder, *command):
    subprocess.run(["openssl", *map(str, command)], cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)


@pytest.mark.parametrize("digest,options,refusal", SIGNATURES)
def test_a_crl_is_judged_by_how_it_is_signed(tmp_path, digest, options, refusal):
    root = Cert("R", own="rsa2048")
    (tmp_path / "ca.pem").write_bytes(pem(root.cert))
    (tmp_path / "ca.key").write_bytes(pem(root.key))
    (tmp_path / "index").write_text("")
    (tmp_path / "config").write_text("[ca]\ndefault_ca=it\n[it]\ndatabase=index\n")
    openssl(tmp_path, "ca", "-config", "config", "-gencrl", "-cert", "ca.pem", "-keyfile", "ca.key", "-md", digest, *options,
            "-crl_lastupdate", "20300101000000Z", "-crl_nextupdate", "20310101000000Z", "-out", "crl.pem")
    crl = x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes()).public_bytes(serialization.Encoding.DER)
    answer, = judges.tabard([(NOW, [root.der], [leaf(root).der], [crl])])
    assert answer.startswith("bundle_refused") == bool(refusal) and refusal in answer


def ca(folder, *command):
    return subprocess.run([TABARD_CA, *map(str, command)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)


@pytest.mark.parametrize("digest,options,refusal", SIGNATURES)
def test_a_signing_request_is_judged_by_how_it_is_signed(tmp_path, digest, options, refusal):
    assert ca(tmp_path, "init", "--dir", "ca", "--trust-domain", "prod.example").returncode == 0
    openssl(tmp_path, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-subj", "/CN=x", f"-{digest}", *options, "-out", "csr")
    assert ("not accepted in the mesh" in ca(tmp_path, "show", "csr").stdout) == bool(refusal)
    done = ca(tmp_path, "sign-csr", "--dir", "ca", "--csr", "csr", "--id", "spiffe://prod.example/web", "--out-cert", "leaf")
    assert (done.returncode != 0) == bool(refusal) and refusal in done.stdout, done.stdout


@pytest.mark.parametrize("kind", ["rsa1024", "p224", "p521"])
def test_a_ca_with_a_weak_key_signs_nothing(tmp_path, kind):
    root = Cert("R", own=kind, names=[x509.UniformResourceIdentifier("spiffe://prod.example")], begin=-NOW, end=DAY)
    assert ca(tmp_path, "init", "--dir", "ca", "--trust-domain", "prod.example").returncode == 0
    (tmp_path / "ca/ca.pem").write_bytes(pem(root.cert))
    (tmp_path / "ca/ca.key").write_bytes(pem(root.key))
    done = ca(tmp_path, "issue", "--dir", "ca", "--id", "spiffe://prod.example/web", "--out-cert", "leaf", "--out-key", "leaf.key")
    assert done.returncode != 0 and "accepted are" in done.stdout, done.stdout
