# SPDX-License-Identifier: Apache-2.0
"""Certificates for the table, minted when the tests start. A CA and a leaf are good but for what a row asks."""
import datetime
import functools
import ipaddress
import os
import subprocess
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = 1900000000
DAY = 86400
ID = "spiffe://prod.example/ns/shop/sa/web"
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@functools.lru_cache(None)
def key(name, kind="p256"):
    """One key for each name and kind, in the whole run."""
    del name
    return {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "p224": lambda: ec.generate_private_key(ec.SECP224R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
        "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
        "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()


def name(common_name, more=()):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name), *more])


def raw(oid, der):
    return x509.UnrecognizedExtension(ObjectIdentifier(oid), bytes.fromhex(der))


def uri(host):
    return x509.UniformResourceIdentifier(host)


def address(text):
    return x509.IPAddress(ipaddress.ip_address(text))


def network(text):
    return x509.IPAddress(ipaddress.ip_network(text))


def permits(*names):
    return x509.NameConstraints(list(names), None)


def excludes(*names):
    return x509.NameConstraints(None, list(names))


def usage(sign_certs=False, digital=False):
    return x509.KeyUsage(digital, False, False, False, False, sign_certs, sign_certs, False, False)


def policies(*oids):
    return x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier(oid), None) for oid in oids])


# The algorithm identifiers with ECDSA and with RSA, of SHA-256 and of digests with which the library above signs no
# certificate any more.
SHA256 = ("300a06082a8648ce3d040302", "300d06092a864886f70d01010b0500")
OLD = {hashes.SHA1: ("300906072a8648ce3d0401", "300d06092a864886f70d0101050500"), hashes.MD5: (None, "300d06092a864886f70d0101040500")}


def tlv(tag, content):
    """One value of DER."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 255])
    return bytes([tag]) + length + content


def old(cert, key, digest):
    """The DER of a certificate, signed anew with an old digest."""
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    tbs = cert.tbs_certificate_bytes
    assert tbs[:2] == b"\x30\x82", "it is longer than 255 bytes"
    algorithm = bytes.fromhex(OLD[digest][is_rsa])
    tbs = tlv(0x30, tbs[4:].replace(bytes.fromhex(SHA256[is_rsa]), algorithm, 1))
    signature = key.sign(tbs, padding.PKCS1v15(), digest()) if is_rsa else key.sign(tbs, ec.ECDSA(digest()))
    return tlv(0x30, tbs + algorithm + tlv(3, b"\0" + signature))


class Cert:
    """A certificate and the key that it speaks for. `more` are (extension, critical); `without` are kinds to leave out."""

    def __init__(self, subject, issuer=None, *, ca=True, own="p256", path_len=None, more=(), without=(), names=(), begin=-DAY,
                 end=DAY, digest=hashes.SHA256, signer=None, key_name=None, ids=True, eku=None, hint=None, subject_more=(), by=None, spiffe_id=ID):
        self.key = key(key_name or subject, own)
        self.name = name(subject, subject_more)
        issuer_name, issuer_key = (self.name, self.key) if issuer is None else (issuer.name, issuer.key)
        issuer_key = signer or issuer_key
        builder = (x509.CertificateBuilder().subject_name(self.name).issuer_name(by or issuer_name).public_key(self.key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(at(begin)).not_valid_after(at(end)))
        extensions = [(x509.BasicConstraints(ca, path_len), True), (usage(ca, not ca), True)]
        if eku or not ca:
            extensions.append((x509.ExtendedKeyUsage(eku or BOTH), False))
        if not ca:
            extensions.append((x509.SubjectAlternativeName([uri(spiffe_id), *names]), False))
        elif names:
            extensions.append((x509.SubjectAlternativeName(names), False))
        if ids:
            hint = hint or issuer_key
            extensions += [(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False),
                           (x509.AuthorityKeyIdentifier.from_issuer_public_key(hint.public_key()), False)]
        for extension, critical in [*extensions, *more]:
            if not isinstance(extension, tuple(without)):
                builder = builder.add_extension(extension, critical)
        pure = isinstance(issuer_key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
        is_old = digest in OLD
        self.cert = builder.sign(issuer_key, None if pure else hashes.SHA256() if is_old else digest())
        self.der = old(self.cert, issuer_key, digest) if is_old else self.cert.public_bytes(serialization.Encoding.DER)


def at(seconds):
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=NOW + seconds)


def leaf(issuer, **more):
    return Cert("web", issuer, ca=False, **more)


def pem(key_or_cert):
    if isinstance(key_or_cert, x509.Certificate):
        return key_or_cert.public_bytes(serialization.Encoding.PEM)
    return key_or_cert.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def by_openssl(folder, issuer, digest, *options):
    """A leaf that openssl signs: it knows the parameters of RSA-PSS, which the library above doesn't."""
    made = Path(folder, "leaf.pem")
    csr = x509.CertificateSigningRequestBuilder().subject_name(name("web")).sign(key("web"), hashes.SHA256())
    files = {"csr": csr.public_bytes(serialization.Encoding.PEM), "ca.pem": pem(issuer.cert), "ca.key": pem(issuer.key),
             "ext": f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
                    f"subjectAltName=URI:{ID}\n".encode()}
    for file, content in files.items():
        Path(folder, file).write_bytes(content)
    command = ["openssl", "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", str(int.from_bytes(os.urandom(8), "big")),
               "-days", "3650", f"-{digest}", "-extfile", "ext", "-out", made]
    for option in options:
        command += ["-sigopt", option]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return x509.load_pem_x509_certificate(made.read_bytes()).public_bytes(serialization.Encoding.DER)


def leaf_by_openssl(issuer, digest, *options):
    with tempfile.TemporaryDirectory() as folder:
        return by_openssl(folder, issuer, digest, *options)
