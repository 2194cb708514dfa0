# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests: good ones from tabard-ca, and forged ones, which it would refuse to make, from openssl."""
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mesh import DOMAIN, run

HOUR = 3600
KEYS = {
    "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "ed25519": ["-algorithm", "ED25519"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "rsa1024": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
}


@dataclass
class Certificate:
    chain: Path
    key: Path


class Authority:
    """The CA of one trust domain, or an intermediate below `parent`, in a folder of its own."""

    def __init__(self, domain=DOMAIN, *, parent=None, key="p256"):
        self.domain = domain
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-ca-"))
        self.num_issued = 0
        self.ca = self.folder / "ca"
        above = ["--parent", parent.ca] if parent else ["--trust-domain", domain]
        run("tabard-ca", "init", *above, "--dir", self.ca, "--key", key)
        self.roots = parent.roots if parent else self.ca / "ca.pem"
        self.key = self.ca / "ca.key"
        self.crl = self.folder / "crl.pem"

    def _name(self, name):
        self.num_issued += 1
        return self.folder / f"{name}-{self.num_issued}"

    def issue(self, name, spiffe_id, *flags):
        """What tabard-ca gives a workload."""
        stem = self._name(name)
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        run("tabard-ca", "issue", "--dir", self.ca, "--id", spiffe_id, "--out-cert", made.chain, "--out-key", made.key, *flags)
        return made

    def revoke(self, certificate):
        """Returns the CRL, rewritten with this certificate in it."""
        run("tabard-ca", "revoke", "--dir", self.ca, "--cert", certificate.chain, "--crl", self.crl)
        return self.crl

    def forge(self, name, *uris, start=-HOUR, end=HOUR, ca=False, usage="digitalSignature", signer=None, key="ec", extra=(),
              like=None):
        """A certificate as the arguments say, `start` and `end` in seconds from now, made whether it makes sense or not;
        `like` is another one for the same key."""
        stem = self._name(name)
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        work = stem.with_suffix(".d")
        work.mkdir()
        (work / "index").touch()
        if like:
            shutil.copy(like.key, made.key)
        else:
            _openssl("genpkey", *KEYS[key], "-out", made.key)
        _openssl("req", "-new", "-key", made.key, "-subj", f"/CN={name}", "-out", work / "csr")
        names = ",".join(f"URI:{uri}" for uri in uris)
        (work / "config").write_text("\n".join([
            "[ca]", "default_ca=x", "[x]", f"database={work}/index", f"new_certs_dir={work}", "rand_serial=yes",
            f"certificate={signer.chain if signer else self.roots}", f"private_key={signer.key if signer else self.key}",
            "default_md=default", "policy=p", "x509_extensions=v3", "unique_subject=no", "[p]", "commonName=supplied",
            "[v3]", f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}", f"keyUsage=critical,{usage}",
            "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid",
            *([f"subjectAltName={names}"] if names else []), *extra, ""]))
        _openssl("ca", "-batch", "-notext", "-config", work / "config", "-in", work / "csr", "-out", made.chain,
                 "-startdate", _stamp(start), "-enddate", _stamp(end))
        return made

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def _stamp(seconds):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout
