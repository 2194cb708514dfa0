# SPDX-License-Identifier: Apache-2.0
"""RFC 5280, section 6.1, and RFC 4158 as a table. OpenSSL and Go judge the same certificates; where Tabard differs from
one of them, the row names the paragraph of docs/certificates.md that says why."""
import collections
import functools
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Use, ObjectIdentifier

import judges
from minted import DAY, NOW, Cert, address, excludes, key, leaf, leaf_by_openssl, name, network, permits, policies, raw, uri

DOCS = Path(__file__).resolve().parents[2] / "docs/certificates.md"
UNKNOWN = raw("1.3.6.1.4.1.99999.1", "0500")
P1, P2, ANY = "1.3.6.1.4.1.99999.2.1", "1.3.6.1.4.1.99999.2.2", "2.5.29.32.0"
P1_DER, P2_DER, ANY_DER = "060a2b06010401868d1f0201", "060a2b06010401868d1f0202", "0604551d2000"
MAP_P1_P2 = raw("2.5.29.33", "301a3018" + P1_DER + P2_DER)
MAP_ANY_P2 = raw("2.5.29.33", "30143012" + ANY_DER + P2_DER)
ROLES = [Use.SERVER_AUTH, Use.CLIENT_AUTH]

Row = collections.namedtuple("Row", "name make tabard openssl go why")
ROWS = []


def row(title, tabard="ok", openssl=None, go=None, why=None):
    """A row: what each judge says, "ok" or "no", and the paragraph that explains a difference. The function gives
    the roots and the chain, as Certs or DER."""
    def add(make):
        ROWS.append(Row(title, make, tabard, openssl or tabard, go or tabard, why))
        return make
    return add


def plain(root=(), middle=(), below=(), **more):
    """A root, an intermediate and a leaf with more extensions each; `more` goes to the intermediate."""
    r = Cert("R", more=root)
    i = Cert("I", r, more=middle, **more)
    return [r], [leaf(i, more=below), i]


def limited(limits, *names, critical=True, **more):
    """A leaf below an intermediate with name constraints; `more` goes to the leaf."""
    return lambda: (lambda r, i: ([r], [leaf(i, names=names, **more), i]))(*(lambda r: (r, Cert("I", r, more=[(limits, critical)])))(Cert("R")))


def of(domain):
    """The leaf's trust domain."""
    return {"spiffe_id": f"spiffe://{domain}/ns/shop/sa/web"}


# --- trust anchors
row("a root, an intermediate and a leaf")(plain)


@row("a root with pathLen 0 above an intermediate", "no")
def _():
    r = Cert("R", path_len=0)
    i = Cert("I", r)
    return [r], [leaf(i), i]


@row("a root with pathLen 0 above a leaf")
def _():
    r = Cert("R", path_len=0)
    return [r], [leaf(r)]


row("a root with an unknown critical extension", "no")(lambda: plain(root=[(UNKNOWN, True)]))
row("a root with an unknown extension")(lambda: plain(root=[(UNKNOWN, False)]))


@row("a root for servers alone", "no")
def _():
    r = Cert("R", eku=[Use.SERVER_AUTH])
    return [r], [leaf(r)]


@row("a root that has expired", "no")
def _():
    r = Cert("R", end=-60)
    return [r], [leaf(r)]


@row("a root that is not yet valid", "no")
def _():
    r = Cert("R", begin=60)
    return [r], [leaf(r)]


@row("a root that another CA signed")
def _():
    i = Cert("I", Cert("R"))
    return [i], [leaf(i)]


@row("a root without keyUsage", "no", "no", "ok", "A CA has a keyUsage")
def _():
    r = Cert("R", without=[x509.KeyUsage])
    return [r], [leaf(r)]


row("a root that requires a policy of nobody")(lambda: plain(root=[(x509.PolicyConstraints(0, None), True)]))
row("a root whose name constraints exclude the trust domain", "no")(lambda: plain(root=[(excludes(uri("prod.example")), True)]))


@row("the leaf alone, as a root", "no", "ok", "ok", "A leaf is no root")
def _():
    end = leaf(Cert("R"))
    return [end], [end]


# --- intermediates
@row("pathLen 0 above another intermediate", "no")
def _():
    r = Cert("R")
    i = Cert("I", r, path_len=0)
    j = Cert("J", i)
    return [r], [leaf(j), j, i]


@row("pathLen 0 above an intermediate of the same name", "ok", "ok", "no", "A CA that its own name issued")
def _():
    r = Cert("R")
    i = Cert("I", r, path_len=0)
    renewed = Cert("I", i, key_name="I renewed")
    return [r], [leaf(renewed), renewed, i]


@row("pathLen 1 and two intermediates below", "no")
def _():
    r = Cert("R", path_len=1)
    i = Cert("I", r)
    j = Cert("J", i)
    return [r], [leaf(j), j, i]


row("an intermediate with an unknown critical extension", "no")(lambda: plain(middle=[(UNKNOWN, True)]))
row("an intermediate with an unknown extension")(lambda: plain(middle=[(UNKNOWN, False)]))
row("an intermediate for servers alone", "no")(lambda: plain(eku=[Use.SERVER_AUTH]))
row("an intermediate for code signing", "no")(lambda: plain(eku=[Use.CODE_SIGNING]))
row("an intermediate for any use", "ok", "no", "ok", "The use of a CA")(lambda: plain(eku=[ObjectIdentifier("2.5.29.37.0")]))
row("an intermediate for both roles")(lambda: plain(eku=ROLES))
row("an intermediate without keyUsage", "no", "no", "ok", "A CA has a keyUsage")(lambda: plain(without=[x509.KeyUsage]))
row("an intermediate without basicConstraints", "no")(lambda: plain(without=[x509.BasicConstraints]))
row("an intermediate with critical key identifiers", "no", "no", "no")(
    lambda: plain(ids=False, middle=[(raw("2.5.29.35", "30068004aabbccdd"), True)]))


@row("an intermediate whose keyUsage lacks keyCertSign", "no")
def _():
    return plain(without=[x509.KeyUsage], middle=[(raw("2.5.29.15", "03020102"), True)])


@row("an intermediate that has expired", "no")
def _():
    return plain(end=-60)


@row("an intermediate that is no CA", "no")
def _():
    r = Cert("R")
    i = Cert("I", r, ca=False)
    return [r], [leaf(i), i]


# --- leaves
row("a leaf with an unknown critical extension", "no")(lambda: plain(below=[(UNKNOWN, True)]))
row("a leaf with a critical policy that nobody asks for")(lambda: plain(below=[(policies(P1), True)]))


# --- certificate policies
def explicit(middle, below, require=0, more=()):
    """An intermediate that requires a policy."""
    return lambda: plain(middle=[(x509.PolicyConstraints(require, None), True), *([(policies(*middle), False)] if middle else []), *more],
                         below=[(policies(*below), False)] if below else [])


row("a required policy that the leaf lacks", "no")(explicit([P1], []))
row("a required policy that both have")(explicit([P1], [P1]))
row("a required policy that the intermediate lacks", "no")(explicit([], [P1]))
row("a required policy, and another one in the leaf", "no")(explicit([P1], [P2]))
row("a required policy, and any of them in the intermediate")(explicit([ANY], [P2]))
row("a required policy, and any of them in the leaf")(explicit([P1], [ANY]))
row("a policy that is required two certificates below")(explicit([], [], require=2))
row("a policy that is required from the next certificate on", "no")(explicit([P1], [], require=1))
row("a required policy, and any of them in the leaf where that is inhibited", "no")(
    explicit([P1], [ANY], more=[(x509.InhibitAnyPolicy(0), True)]))
row("any policy inhibited and a policy by name")(explicit([P1], [P1], more=[(x509.InhibitAnyPolicy(0), True)]))
row("a policy that is mapped to the leaf's")(explicit([P1], [P2], more=[(MAP_P1_P2, True)]))
row("a policy that is mapped away from the leaf's", "no")(explicit([P1], [P1], more=[(MAP_P1_P2, True)]))
row("a mapping of anyPolicy", "no", "no", "no")(explicit([ANY], [P2], more=[(MAP_ANY_P2, True)]))
row("a policy named twice", "no")(lambda: plain(middle=[(raw("2.5.29.32", "301c300c" + P1_DER + "300c" + P1_DER), True)]))


@row("a mapping that a CA above inhibits", "no")
def _():
    r = Cert("R")
    i = Cert("I", r, more=[(x509.PolicyConstraints(0, 0), True), (policies(P1), False)])
    j = Cert("J", i, more=[(policies(P1), False), (MAP_P1_P2, True)])
    return [r], [leaf(j, more=[(policies(P2), False)]), j, i]


# --- name constraints
row("the trust domain permitted")(limited(permits(uri("prod.example"))))
row("another trust domain permitted", "no")(limited(permits(uri("other.example"))))
row("the trust domain excluded", "no")(limited(excludes(uri("prod.example"))))
row("a trust domain below it excluded")(limited(excludes(uri("a.prod.example"))))
row("all below a domain permitted")(limited(permits(uri(".example"))))
row("all below the trust domain permitted, and not itself", "no")(limited(permits(uri(".prod.example"))))
row("the trust domain excluded by a constraint that is not critical", "no", "no", "no")(
    limited(excludes(uri("prod.example")), critical=False))
for odd in ("prod_eu", "1", "-a-.b-"):
    row(f"a trust domain called {odd}, permitted")(limited(permits(uri(odd)), **of(odd)))
    row(f"a trust domain called {odd}, not permitted", "no")(limited(permits(uri("prod.example")), **of(odd)))
    row(f"a trust domain called {odd}, excluded", "no")(limited(excludes(uri(odd)), **of(odd)))
    row(f"a trust domain called {odd} where another is excluded")(limited(excludes(uri("prod.example")), **of(odd)))
row("a trust domain like an address, permitted", "ok", "ok", "no", "A trust domain is a name")(limited(permits(uri("10.0.0.1")), **of("10.0.0.1")))
row("a trust domain like an address, not permitted", "no")(limited(permits(uri("10.0.0.2")), **of("10.0.0.1")))
row("a trust domain like an address, excluded", "no")(limited(excludes(uri("10.0.0.1")), **of("10.0.0.1")))
row("a trust domain like an address excluded, and another name", "ok", "ok", "no", "A trust domain is a name")(limited(excludes(uri("10.0.0.1"))))
row("a trust domain below the permitted one", "no", "no", "ok", "A constraint on URIs is a host")(limited(permits(uri("prod.example")), **of("a.prod.example")))
row("a trust domain that ends alike", "no")(limited(permits(uri(".prod.example")), **of("badprod.example")))
row("a constraint in upper case")(limited(permits(uri("PROD.example"))))
row("an excluded domain in upper case", "no")(limited(excludes(uri(".EXAMPLE"))))
row("permitted and excluded", "no")(limited(x509.NameConstraints([uri(".example")], [uri("prod.example")])))
row("permitted, and another excluded")(limited(x509.NameConstraints([uri(".example")], [uri("bad_td.example")])))
row("a dot at the end of a permitted trust domain", "no")(limited(permits(uri("prod.example")), **of("prod.example.")))
row("a dot at the end of an excluded trust domain", "no", "ok", "no", "A host has no empty label")(
    limited(excludes(uri("prod.example")), **of("prod.example.")))
row("a dot at the end of a constraint", "no")(limited(permits(uri("prod.example."))))
row("an empty constraint on URIs, permitted", "no", "no", "ok", "A constraint on URIs is a host")(limited(permits(uri(""))))
row("an empty constraint on URIs, excluded", "no", "ok", "no", "A constraint on URIs is a host")(limited(excludes(uri(""))))
row("a URI with a port", "no", "ok", "ok", "A URI has a host alone")(limited(permits(uri("prod.example")), uri("https://prod.example:443/")))
row("a URI with a user", "no", "ok" if judges.openssl_version() >= (3, 5) else "no", "ok", "A URI has a host alone")(limited(permits(uri("prod.example")), uri("https://a@prod.example/")))
row("a URI without a host", "no")(limited(excludes(uri("other.example")), uri("urn:a:b")))
row("a URI of another scheme, permitted")(limited(permits(uri("prod.example")), uri("https://prod.example/x")))
row("a URI of another scheme, excluded", "no")(limited(excludes(uri("other.example")), uri("https://Other.example/x")))
row("a URI of another scheme and an address", "no", "ok", "no", "A trust domain is a name")(
    limited(excludes(uri("other.example")), uri("https://10.0.0.1/")))
row("an IPv4 address inside its range")(limited(permits(network("10.0.0.0/8")), address("10.1.2.3")))
row("an IPv4 address outside its range", "no")(limited(permits(network("10.0.0.0/8")), address("11.1.2.3")))
row("an IPv4 address in an excluded range", "no")(limited(excludes(network("10.0.0.0/8")), address("10.1.2.3")))
row("an IPv4 address outside an excluded range")(limited(excludes(network("10.0.0.0/8")), address("11.1.2.3")))
row("an IPv6 address inside its range")(limited(permits(network("2001:db8::/32")), address("2001:db8::1")))
row("an IPv6 address outside its range", "no")(limited(permits(network("2001:db8::/32")), address("2001:db9::1")))
row("an IPv6 address where IPv4 alone is permitted", "no")(limited(permits(network("10.0.0.0/8")), address("2001:db8::1")))
row("one of two addresses outside", "no")(limited(permits(network("10.0.0.0/8")), address("10.1.2.3"), address("11.1.2.3")))
row("an IP range, and a leaf without address")(limited(permits(network("10.0.0.0/8"))))
row("an IP range whose mask has holes", "no", "ok", "no", "An IP range is a range")(
    limited(raw("2.5.29.30", "300ea00c300a87080a000000ff00ff00"), address("10.9.0.9")))
row("a DNS name inside", "ok")(limited(permits(x509.DNSName("prod.example")), x509.DNSName("web.prod.example")))
row("a DNS name outside", "no")(limited(permits(x509.DNSName("prod.example")), x509.DNSName("web.other.example")))
row("a DNS name that ends alike", "no")(limited(permits(x509.DNSName("prod.example")), x509.DNSName("badprod.example")))
row("a mail address outside", "no")(limited(permits(x509.RFC822Name("prod.example")), x509.RFC822Name("a@other.example")))
row("a directory name outside", "no")(
    limited(permits(x509.DirectoryName(name("other")))))
row("a directory name inside", "ok", "ok", "no", "Constraints on directory names")(limited(permits(x509.DirectoryName(name("web")))))
row("empty name constraints", "no", "ok", "no", "Name constraints say something")(lambda: plain(middle=[(raw("2.5.29.30", "3000"), True)]))
row("a name of a kind that is constrained and not understood", "no", "no", "no")(
    limited(permits(x509.RegisteredID(ObjectIdentifier("1.2.3"))), x509.RegisteredID(ObjectIdentifier("1.2.3"))))


@row("the names of an intermediate count, too", "no")
def _():
    r = Cert("R", more=[(permits(x509.DNSName("prod.example")), True)])
    i = Cert("I", r, names=[x509.DNSName("other.example")])
    return [r], [leaf(i), i]


@row("name constraints of two CAs hold both", "no")
def _():
    r = Cert("R", more=[(permits(uri("prod.example")), True)])
    i = Cert("I", r, more=[(permits(uri("other.example")), True)])
    return [r], [leaf(i), i]


# --- signatures and keys
def signed(digest, kind="p256", **more):
    def make():
        r = Cert("R", own=kind)
        i = Cert("I", r, own=kind, digest=digest, **more)
        return [r], [leaf(i), i]
    return make


row("ECDSA with SHA-1", "no")(signed(hashes.SHA1))
row("RSA with SHA-1", "no")(signed(hashes.SHA1, "rsa2048"))
row("RSA with MD5", "no")(signed(hashes.MD5, "rsa2048"))
row("RSA with SHA-256")(signed(hashes.SHA256, "rsa2048"))
row("ECDSA with SHA-224", "no", "ok", "no", "Digests of 256 bits and more")(signed(hashes.SHA224))
row("ECDSA on P-384 with SHA-384")(signed(hashes.SHA384, "p384"))
row("Ed25519")(signed(None, "ed25519"))
row("Ed448", "no", "ok", "no", "Keys")(signed(None, "ed448"))
row("ECDSA on P-521", "no", "ok", "ok", "Keys")(signed(hashes.SHA512, "p521"))
row("ECDSA on P-224", "no", "ok", "ok", "Keys")(signed(hashes.SHA256, "p224"))
row("RSA of 1024 bits", "no", "no", "ok", "Keys")(signed(hashes.SHA256, "rsa1024"))


def pss(digest, *options):
    def make():
        r = Cert("R", own="rsa2048", end=20 * 365 * DAY)
        return [r], [leaf_by_openssl(r, digest, "rsa_padding_mode:pss", *options)]
    return make


row("RSA-PSS with SHA-256")(pss("sha256", "rsa_pss_saltlen:32"))
row("RSA-PSS with SHA-512")(pss("sha512", "rsa_pss_saltlen:64"))
row("RSA-PSS with SHA-256 and a salt of 20 bytes", "no", "ok", "no", "The salt of RSA-PSS")(pss("sha256", "rsa_pss_saltlen:20"))
row("RSA-PSS with SHA-256 and the longest salt", "no", "ok", "no", "The salt of RSA-PSS")(pss("sha256", "rsa_pss_saltlen:max"))
row("RSA-PSS with SHA-256 and no salt", "no", "ok", "no", "The salt of RSA-PSS")(pss("sha256", "rsa_pss_saltlen:0"))
row("RSA-PSS with SHA-1", "no")(pss("sha1", "rsa_pss_saltlen:20"))
row("RSA-PSS with SHA-256 and a mask of SHA-1", "no", "ok", "no", "Digests of 256 bits and more")(
    pss("sha256", "rsa_pss_saltlen:32", "rsa_mgf1_md:sha1"))


# --- path building
@functools.lru_cache(None)
def rooted():
    old, new = Cert("Old"), Cert("New")
    by_old, by_new = Cert("I", old), Cert("I", new)
    return old, new, by_old, by_new, Cert("I", new, end=-60), leaf(by_old)


@row("two cross-certificates, and the older root", "ok", "no", "ok", "Every path is tried")
def _():
    old, _, by_old, by_new, _, end = rooted()
    return [old], [end, by_new, by_old]


@row("two cross-certificates, and the newer root", "ok", "no", "ok", "Every path is tried")
def _():
    _, new, by_old, by_new, _, end = rooted()
    return [new], [end, by_old, by_new]


@row("an expired cross-certificate before a good one")
def _():
    old, new, by_old, _, expired, end = rooted()
    return [old, new], [end, expired, by_old]


@row("no cross-certificate that leads to the root", "no")
def _():
    _, new, by_old, _, expired, end = rooted()
    return [new], [end, expired, by_old]


@row("roots of one name without key identifiers", "ok", "no", "ok", "Every path is tried")
def _():
    a, b = Cert("R", ids=False, key_name="Ra"), Cert("R", ids=False, key_name="Rb")
    end = leaf(b, ids=False)
    return [a, b], [end]


@row("intermediates of one name without key identifiers", "ok", "no", "ok", "Every path is tried")
def _():
    r = Cert("R", ids=False)
    a, b = Cert("I", r, ids=False, key_name="Ia"), Cert("I", r, ids=False, key_name="Ib")
    return [r], [leaf(b, ids=False), a, b]


@row("key identifiers that name another key", "ok", "no", "ok", "Key identifiers are hints")
def _():
    r = Cert("R")
    i = Cert("I", r, hint=key("nobody"))
    return [r], [leaf(i, hint=key("nobody")), i]


@row("a renewed root that the older one signed, without key identifiers", "ok", "no", "ok", "Every path is tried")
def _():
    old = Cert("R", ids=False, key_name="R old")
    new = Cert("R", old, ids=False, key_name="R new")
    return [old], [leaf(new, ids=False), new]


@row("a circle of cross-certificates, and a way out", "ok", "no", "ok", "Every path is tried")
def _():
    r = Cert("R")
    j = Cert("J", r)
    i = Cert("I", j)
    back = Cert("J", i, key_name="J")
    return [r], [leaf(i), back, i, j]


@row("the root, duplicates and certificates of others sent along")
def _():
    r = Cert("R")
    i = Cert("I", r)
    other = Cert("O")
    return [r], [leaf(i), r, other, Cert("P", other), i, i, leaf(other)]


def der(cert):
    return cert if isinstance(cert, bytes) else cert.der


@functools.lru_cache(None)
def cases():
    made = [row.make() for row in ROWS]
    return [(NOW, [der(c) for c in roots], [der(c) for c in chain], []) for roots, chain in made]


def disagreements(answers, expected):
    return [f"{row.name}: {answer or 'ok'}; expected: {want}" for row, answer, want in zip(ROWS, answers, expected)
            if (answer == "") != (want == "ok")]


def test_tabard_judges_each_path_as_the_table_says():
    assert disagreements(judges.tabard(cases()), [row.tabard for row in ROWS]) == []


def test_openssl_judges_each_path_as_the_table_says():
    assert disagreements(judges.openssl(cases()), [row.openssl for row in ROWS]) == []


def test_go_judges_each_path_as_the_table_says():
    missing = judges.go_is_missing()
    if missing:
        pytest.skip(missing)
    assert disagreements(judges.go(cases()), [row.go for row in ROWS]) == []


def test_every_difference_is_explained_where_an_operator_reads():
    docs = DOCS.read_text()
    for entry in ROWS:
        differs = {entry.tabard, entry.openssl, entry.go} != {entry.tabard}
        assert differs == (entry.why is not None), entry.name
        assert entry.why is None or f"**{entry.why}" in docs, f"{entry.name}: no paragraph \"{entry.why}\" in {DOCS.name}"
