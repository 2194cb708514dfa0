# SPDX-License-Identifier: Apache-2.0
"""Three judges of certification paths: Tabard's path_find, OpenSSL's verify and Go's crypto/x509. Each is asked with
lists of DER: roots, certificates (the leaf first) and CRLs, and answers "" for a good path or why there is none."""
import base64
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
GO_VERSION_MIN = (1, 24)


def path_judge():
    """The program that Bazel built: ./dev test and ./dev certs build //tests/certs:path_judge."""
    path = Path(os.environ.get("PATH_JUDGE", REPO / "bazel-bin/tests/certs/path_judge"))
    assert path.exists(), f"{path} is missing: bazel build //tests/certs:path_judge"
    return path


def _list(blobs):
    return ",".join(base64.b64encode(blob).decode() for blob in blobs) or "-"


def _ask(program, cases):
    """Asks a program that answers a line of question with a line."""
    questions = "".join(f"{now} {_list(roots)} {_list(chain)} {_list(crls)}\n" for now, roots, chain, crls in cases)
    done = subprocess.run([program], input=questions, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    answers = done.stdout.splitlines()
    assert len(answers) == len(cases)
    return ["" if answer.strip() == "ok" else answer for answer in answers]


def tabard(cases):
    return _ask(path_judge(), cases)


def go_is_missing():
    """Why Go can't be asked, or None. Older ones know no policies and not all limits."""
    if shutil.which("go") is None:
        return "go is not installed"
    said = subprocess.run(["go", "version"], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    version = re.search(r"go(\d+)\.(\d+)", said)
    is_old = version and tuple(map(int, version.groups())) < GO_VERSION_MIN
    return f"{said.strip()} is older than go{GO_VERSION_MIN[0]}.{GO_VERSION_MIN[1]}" if is_old else None


def go(cases):
    """The answers of Go's Certificate.Verify, as a server's and as a client's certificate."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "judge")
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOPROXY": "off", "CGO_ENABLED": "0"}
        source = str(Path(__file__).with_name("judge.go"))
        subprocess.run(["go", "build", "-o", program, source], check=True, cwd=folder, env=environment, timeout=600)
        return _ask(program, cases)


def _pem(folder, name, blobs, label):
    path = Path(folder, name)
    path.write_text("".join(f"-----BEGIN {label}-----\n{base64.encodebytes(blob).decode()}-----END {label}-----\n" for blob in blobs))
    return str(path)


def openssl_version():
    said = subprocess.run(["openssl", "version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(map(int, re.search(r"OpenSSL (\d+)\.(\d+)", said).groups()))


def openssl(cases):
    """The answers of openssl verify, strict, as a server's and as a client's certificate."""
    return [_openssl(*case) for case in cases]


def _openssl(now, roots, chain, crls):
    with tempfile.TemporaryDirectory() as folder:
        command = ["openssl", "verify", "-no-CAfile", "-no-CApath", "-x509_strict", "-partial_chain", "-policy_check",
                   "-policy", "anyPolicy", "-auth_level", "2", "-attime", str(now), "-trusted", _pem(folder, "roots", roots, "CERTIFICATE")]
        if chain[1:]:
            command += ["-untrusted", _pem(folder, "others", chain[1:], "CERTIFICATE")]
        assert not crls
        for purpose in ("sslserver", "sslclient"):
            done = subprocess.run([*command, "-purpose", purpose, _pem(folder, "leaf", chain[:1], "CERTIFICATE")],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            if done.returncode != 0:
                return " ".join(done.stdout.split())
    return ""
