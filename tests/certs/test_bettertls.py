# SPDX-License-Identifier: Apache-2.0
"""Netflix's BetterTLS: which of several paths is found, and name constraints. Its Go module writes the certificates
anew on each run. ./dev certs runs this; ./dev test doesn't, because the module is built first, which takes a minute."""
import base64
import ipaddress
import json
import os
import subprocess
import time

import pytest
from cryptography import x509

import judges

MODULE = "github.com/Netflix/bettertls/test-suites/cmd/bettertls@v0.0.0-20250909192348-e1e99e353074"
CHAIN_MAX = 10  # "How long a chain may be", docs/certificates.md


@pytest.fixture(scope="module")
def suites(tmp_path_factory):
    missing = judges.go_is_missing()
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("bettertls")
    subprocess.run(["go", "install", MODULE], check=True, env={**os.environ, "GOBIN": str(folder)}, timeout=900)
    subprocess.run([folder / "bettertls", "export-tests", "--out", folder / "tests.json"], check=True, timeout=300)
    return json.loads((folder / "tests.json").read_text())


def differences(suites, suite):
    """The cases that Tabard judges differently, with its answers."""
    cases = suites["suites"][suite]["testCases"]
    root = base64.b64decode(suites["trustRoot"])
    asked = [(int(time.time()), [root], [base64.b64decode(one) for one in case["certificates"]], []) for case in cases]
    answers = judges.tabard(asked)
    assert cases
    return [(case, answer) for case, answer in zip(cases, answers) if (answer == "") != (case["expected"] == "ACCEPT")]


def names_host(case):
    """Whether the leaf's subjectAltName has the host that the case is about. Tabard asks about no host."""
    leaf = x509.load_der_x509_certificate(base64.b64decode(case["certificates"][0]))
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    host = case["hostname"]
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = {host, "*." + host.partition(".")[2]}
        return not wanted.isdisjoint(one.lower() for one in names.get_values_for_type(x509.DNSName))


def test_a_good_path_is_found_wherever_bettertls_has_one(suites):
    found = differences(suites, "pathbuilding")
    assert [(case["id"], answer) for case, answer in found if len(case["certificates"]) <= CHAIN_MAX] == []


def test_name_constraints_are_kept_as_bettertls_wants(suites):
    found = differences(suites, "nameconstraints")
    assert [(case["id"], answer) for case, answer in found if case["expected"] == "ACCEPT" or names_host(case)] == []
