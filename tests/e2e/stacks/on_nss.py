# SPDX-License-Identifier: Apache-2.0
"""NSS, through its shared libraries. It keeps keys in a database, which pk12util fills."""
import ctypes
import subprocess
import tempfile
from ctypes import byref, c_char_p, c_int, c_uint, c_void_p
from pathlib import Path

# The numbers of the library's header.
REQUEST_CERTIFICATE, NO_CACHE, REQUIRE_CERTIFICATE, ALPN = 3, 9, 10, 26
TLS_1_3 = 0x0304
SHUTDOWN_SEND = 1
NO_TIMEOUT = c_uint(0xFFFFFFFF)

nspr, nss, ssl = (ctypes.CDLL(f"lib{name}.so") for name in ("nspr4", "nss3", "ssl3"))
for library, name in ((nspr, "PR_ImportTCPSocket"), (ssl, "SSL_ImportFD"), (nss, "PK11_FindCertFromNickname"),
                      (nss, "PK11_FindKeyByAnyCert")):
    getattr(library, name).restype = c_void_p
nspr.PR_ErrorToName.restype = c_char_p


class Range(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint16), ("high", ctypes.c_uint16)]


ON_CERTIFICATE = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int)
ON_ASKED = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, ctypes.POINTER(c_void_p), ctypes.POINTER(c_void_p))


def make_database(options):
    folder = Path(tempfile.mkdtemp(prefix="tabard-nss-"))
    where, store = f"sql:{folder}", folder / "peer.p12"
    for command in (["certutil", "-N", "-d", where, "--empty-password"],
                    ["openssl", "pkcs12", "-export", "-in", options.certificate, "-inkey", options.key, "-name", "peer", "-out", store,
                     "-passout", "pass:pw"],
                    ["pk12util", "-i", store, "-d", where, "-W", "pw", "-K", ""]):
        subprocess.run(command, check=True, capture_output=True)
    return where


class Tls:
    def __init__(self, sock, options):
        self.sock = sock
        self._check(nss.NSS_Init(make_database(options).encode()))
        nss.NSS_SetDomesticPolicy() if hasattr(nss, "NSS_SetDomesticPolicy") else ssl.NSS_SetDomesticPolicy()
        self.fd = c_void_p(ssl.SSL_ImportFD(None, c_void_p(nspr.PR_ImportTCPSocket(sock.fileno()))))
        self.certificate = c_void_p(nss.PK11_FindCertFromNickname(b"peer", None))
        self.key = c_void_p(nss.PK11_FindKeyByAnyCert(self.certificate, None))
        self.hooks = [ON_CERTIFICATE(lambda *_: 0), ON_ASKED(self._on_asked)]  # which stay alive with this
        self._check(ssl.SSL_VersionRangeSet(self.fd, byref(Range(TLS_1_3, TLS_1_3))))
        self._check(ssl.SSL_OptionSet(self.fd, NO_CACHE, 1))
        self._check(ssl.SSL_AuthCertificateHook(self.fd, self.hooks[0], None))
        if options.is_server:
            self._check(ssl.SSL_ConfigServerCert(self.fd, self.certificate, self.key, None, 0))
            self._check(ssl.SSL_OptionSet(self.fd, REQUEST_CERTIFICATE, 1))
            self._check(ssl.SSL_OptionSet(self.fd, REQUIRE_CERTIFICATE, 1))
        else:
            self._check(ssl.SSL_GetClientAuthDataHook(self.fd, self.hooks[1], None))
            self._check(ssl.SSL_SetURL(self.fd, b"api.demo.example"))
        if options.alpn:
            # NSS takes the first name for its last choice.
            names = b"".join(bytes([len(name)]) + name.encode() for name in options.alpn[-1:] + options.alpn[:-1])
            self._check(ssl.SSL_OptionSet(self.fd, ALPN, 1))
            self._check(ssl.SSL_SetNextProtoNego(self.fd, names, len(names)))
        self._check(ssl.SSL_ResetHandshake(self.fd, options.is_server))
        self._check(ssl.SSL_ForceHandshake(self.fd))

    def _on_asked(self, _context, _fd, _authorities, out_certificate, out_key):
        out_certificate[0] = nss.PK11_FindCertFromNickname(b"peer", None)
        out_key[0] = nss.PK11_FindKeyByAnyCert(self.certificate, None)
        return 0

    @staticmethod
    def _check(result):
        if result < 0:
            raise OSError(nspr.PR_ErrorToName(nspr.PR_GetError()).decode())
        return result

    def protocol(self):
        state, name, length = c_int(), ctypes.create_string_buffer(255), c_uint()
        self._check(ssl.SSL_GetNextProto(self.fd, byref(state), name, byref(length), len(name)))
        return name.raw[:length.value].decode() or None

    def send(self, data):
        return self._check(nspr.PR_Send(self.fd, data, len(data), 0, NO_TIMEOUT))

    def recv(self):
        buffer = ctypes.create_string_buffer(65536)
        return buffer.raw[:self._check(nspr.PR_Recv(self.fd, buffer, len(buffer), 0, NO_TIMEOUT))]

    def finish(self):
        self._check(nspr.PR_Shutdown(self.fd, SHUTDOWN_SEND))

    def close(self):
        nspr.PR_Close(self.fd)  # which owns the descriptor
        self.sock.detach()
