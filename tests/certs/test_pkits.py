# SPDX-License-Identifier: Apache-2.0
"""NIST's PKITS (Public Key Interoperability Test Suite), from Debian's python3-cryptography-vectors: each end entity with
all CA certificates that its issuers' names lead to, and with the CRLs of these CAs. The name of an end entity says what
is expected; what differs is here, by the paragraph of docs/certificates.md that says why."""
import collections
from pathlib import Path

import pytest

import judges

DATA = Path("/usr/lib/python3/dist-packages/cryptography_vectors/x509/PKITS_data")
DOCS = Path(__file__).resolve().parents[2] / "docs/certificates.md"
NOW = 1400000000  # all of it is valid from 2010 to 2030
ANCHOR = "TrustAnchorRootCertificate"

# Names that say neither Valid nor Invalid are valid but for these (PKITS, section 4.8).
INVALID = {f"DifferentPoliciesTest{number}EE" for number in (4, 5, 7, 8, 9, 12)}
# Issuers whose names agree by RFC 5280, section 7.1, and not byte by byte.
ISSUERS = {
    "ValidNameChainingWhitespaceTest3EE": "GoodCACert",
    "ValidNameChainingWhitespaceTest4EE": "GoodCACert",
    "ValidNameChainingCapitalizationTest5EE": "GoodCACert",
    "ValidRolloverfromPrintableStringtoUTF8StringTest10EE": "RolloverfromPrintableStringtoUTF8StringCACert",
    "ValidUTF8StringCaseInsensitiveMatchTest11EE": "UTF8StringCaseInsensitiveMatchCACert",
}
# CRLs that say another issuer than the CA whose they are meant to be.
CRLS = {"InvalidBadCRLIssuerNameTest5EE": "BadCRLIssuerNameCACRL", "InvalidWrongCRLTest6EE": "WrongCRLCACRL"}

DIFFERENCES = {
    "Keys": ["ValidDSASignaturesTest4EE", "ValidDSAParameterInheritanceTest5EE"],
    "A CA without CRL": [
        "InvalidMissingCRLTest1EE", "InvalidBadCRLIssuerNameTest5EE", "InvalidWrongCRLTest6EE", "InvalidIDPwithindirectCRLTest26EE",
        "InvalidcRLIssuerTest27EE", "InvalidcRLIssuerTest31EE", "InvalidcRLIssuerTest32EE"],
    "A CRL is signed by the key that it is about": [
        "InvalidBasicSelfIssuedOldWithNewTest2EE", "InvalidSeparateCertificateandCRLKeysTest20EE",
        "InvalidSeparateCertificateandCRLKeysTest21EE"],
    "Complete CRLs only": [
        "ValidBasicSelfIssuedCRLSigningKeyTest6EE", "ValidBasicSelfIssuedNewWithOldTest3EE", "ValidBasicSelfIssuedNewWithOldTest4EE",
        "ValidIDPwithindirectCRLTest22EE", "ValidcRLIssuerTest28EE", "ValidcRLIssuerTest29EE",

        "ValiddeltaCRLTest2EE", "ValiddeltaCRLTest5EE", "ValiddeltaCRLTest7EE",
        "ValiddeltaCRLTest8EE", "ValiddistributionPointTest1EE", "ValiddistributionPointTest4EE", "ValiddistributionPointTest5EE",
        "ValiddistributionPointTest7EE", "ValidonlyContainsCACertsTest13EE",
        "ValidonlySomeReasonsTest18EE", "ValidonlySomeReasonsTest19EE"],
}


def parts(der):
    """The values that one value of DER consists of."""
    def cut(at):
        size, start = der[at + 1], at + 2
        if size >= 128:
            size, start = int.from_bytes(der[start:start + size - 128], "big"), start + size - 128
        return start, start + size
    at, end = cut(0)
    while at < end:
        _, after = cut(at)
        yield der[at:after]
        at = after


def read():
    """The names are taken from the DER itself: libraries refuse some of what is here."""
    certs = {}
    for file in sorted(DATA.glob("certs/*.crt")):
        der = file.read_bytes()
        _version, _serial, _algorithm, issuer, _validity, subject, *_ = parts(next(parts(der)))
        certs[file.stem] = (der, subject, issuer)
    crls = {}
    for file in sorted(DATA.glob("crls/*.crl")):
        der = file.read_bytes()
        fields = list(parts(next(parts(der))))
        crls[file.stem] = (der, fields[2] if fields[0][0] == 2 else fields[1])  # the first version isn't named
    return certs, crls


def follow(end, certs, by_subject):
    """The end entity, and all CAs that the names of issuers lead to."""
    chain = [end, *([ISSUERS[end]] if end in ISSUERS else [])]
    for one in chain:
        chain += [ca for ca in by_subject[certs[one][2]] if ca not in chain]
    return chain


def questions():
    certs, crls = read()
    by_subject, by_issuer = collections.defaultdict(list), collections.defaultdict(list)
    for one, (_, subject, _) in certs.items():
        if not one.endswith("EE") and one != ANCHOR:
            by_subject[subject].append(one)
    for one, (_, issuer) in crls.items():
        by_issuer[issuer].append(one)
    for end in (one for one in certs if one.endswith("EE")):
        chain = follow(end, certs, by_subject)
        lists = [CRLS[end]] if end in CRLS else []
        for one in [ANCHOR, *chain[1:]]:
            lists += [crl for crl in by_issuer[certs[one][1]] if crl not in lists and (crl != "WrongCRLCACRL" or end in CRLS)]
        yield end, (NOW, [certs[ANCHOR][0]], [certs[one][0] for one in chain], [crls[one][0] for one in lists])


def is_expected(end):
    return not end.startswith("Invalid") and end not in INVALID


def test_each_path_of_pkits_is_judged_as_nist_says_or_as_explained():
    if not DATA.exists():
        pytest.skip("python3-cryptography-vectors is not installed")
    ends, cases = zip(*questions())
    answers = dict(zip(ends, judges.tabard(cases)))
    assert len(answers) > 200
    found = {end: answer for end, answer in answers.items() if (answer == "") != is_expected(end)}
    explained = {end for why in DIFFERENCES for end in DIFFERENCES[why]}
    assert {end: found[end] for end in found if end not in explained} == {}
    assert explained <= set(found), explained - set(found)
    for why in DIFFERENCES:
        assert f"**{why}" in DOCS.read_text(), f"no paragraph \"{why}\" in {DOCS.name}"
