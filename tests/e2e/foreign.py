# SPDX-License-Identifier: Apache-2.0
"""TLS peers that are not Tabard: what any client or server written with Python's ssl, on OpenSSL, would do."""
import contextlib
import socket
import ssl

from mesh import connect


def client_context(authority, certificate=None, *, alpn=(), version=None, group=None):
    """group: the only one that is offered, by OpenSSL's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a SPIFFE id is no host name
    context.load_verify_locations(authority.roots)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # the far end is to judge our keys, not our own library
    if certificate:
        context.load_cert_chain(certificate.chain, certificate.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if group:
        context.set_ecdh_curve(group)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def server_context(authority, certificate, *, verify=True, group=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if group:
        context.set_ecdh_curve(group)
    context.load_cert_chain(certificate.chain, certificate.key)
    if verify:
        context.load_verify_locations(authority.roots)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def tls(address, authority, certificate=None, netns=None, **how):
    """A TLS client's socket, its own half of the handshake done."""
    sock = connect(address, netns)
    try:
        return client_context(authority, certificate, **how).wrap_socket(sock)
    except BaseException:
        sock.close()
        raise


def attempt(address, authority, certificate=None, netns=None, data=b"hello", **how):
    """What one call gets: the bytes that came back, or in words how it was refused."""
    try:
        with tls(address, authority, certificate, netns, **how) as sock:
            sock.sendall(data)
            answer = sock.recv(65536) or "closed"
            with contextlib.suppress(OSError):
                sock.unwrap()  # close_notify, and the other side's
            return answer
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError as error:
        return type(error).__name__


class MemoryClient:
    """A TLS client whose every byte the test carries itself."""

    def __init__(self, address, authority, certificate=None, **how):
        self.sock = connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(authority, certificate, **how).wrap_bio(self.incoming, self.outgoing)

    def handshake(self, send=None):
        """Runs the handshake; `send(bytes)` puts on the wire what the client says."""
        send = send or self.sock.sendall
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                send(self.outgoing.read())
                self._receive()
        send(self.outgoing.read())
        return self

    def _receive(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.incoming.write(data)

    def client_hello(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def exchange(self, data):
        self.tls.write(data)
        self.sock.sendall(self.outgoing.read())
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive()

    def close(self):
        self.sock.close()
