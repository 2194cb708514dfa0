# SPDX-License-Identifier: Apache-2.0
"""The certificates of a cluster's own parts, and their kubeconfig files. Nothing of Tabard's is among them."""
import base64
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 365


def _pem_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _name(common_name, organization=None):
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _builder(subject, issuer, key):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=DAYS)))


class Authority:
    """The cluster's CA. Files appear in `folder`, readable by their owner alone."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = _name("kubernetes")
        usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
                              key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
                              decipher_only=False)
        self.certificate = (_builder(name, name, self.key)
                            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                            .add_extension(usage, critical=True).sign(self.key, hashes.SHA256()))
        self._write("ca", self.certificate, self.key)
        account = ec.generate_private_key(ec.SECP256R1())  # signs the tokens of service accounts
        self._file("sa.key").write_bytes(_pem_key(account))
        self._file("sa.pub").write_bytes(account.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))

    def _file(self, name):
        path = self.folder / name
        path.touch(mode=0o600)
        return path

    def _write(self, name, certificate, key):
        self._file(f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._file(f"{name}.key").write_bytes(_pem_key(key))

    def issue(self, name, common_name, organization=None, *, names=(), addresses=()):
        """A certificate for client and server, as NAME.crt and NAME.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(_name(common_name, organization), self.certificate.subject, key).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        others = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses)]
        if others:
            made = made.add_extension(x509.SubjectAlternativeName(others), critical=False)
        self._write(name, made.sign(self.key, hashes.SHA256()), key)

    def kubeconfig(self, name, server, common_name, organization=None):
        """NAME.kubeconfig, by which a client is COMMON_NAME and of ORGANIZATION; it names no other file."""
        self.issue(name, common_name, organization)

        def inline(file):
            return base64.b64encode((self.folder / file).read_bytes()).decode()

        self._file(f"{name}.kubeconfig").write_text(f"""apiVersion: v1
kind: Config
current-context: tabard
clusters: [{{name: tabard, cluster: {{server: "{server}", certificate-authority-data: {inline("ca.crt")}}}}}]
users: [{{name: {name}, user: {{client-certificate-data: {inline(name + ".crt")}, client-key-data: {inline(name + ".key")}}}}}]
contexts: [{{name: tabard, context: {{cluster: tabard, user: {name}}}}}]
""")
