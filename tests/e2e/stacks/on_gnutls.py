# SPDX-License-Identifier: Apache-2.0
"""GnuTLS, through its shared library."""
import ctypes
from ctypes import byref, c_char_p, c_uint, c_void_p

CREDENTIALS_OF_CERTIFICATE = X509_PEM = 1
CLIENT, SERVER = 2, 1
SHUT_RDWR, SHUT_WR = 0, 1
FATAL_ALERT = -12

lib = ctypes.CDLL("libgnutls.so.30")
for name in ("gnutls_record_recv", "gnutls_record_send"):
    getattr(lib, name).restype = ctypes.c_ssize_t
    getattr(lib, name).argtypes = [c_void_p, c_void_p, ctypes.c_size_t]
for name in ("gnutls_strerror", "gnutls_alert_get_name"):
    getattr(lib, name).restype = c_char_p


class Datum(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_uint)]


class Tls:
    def __init__(self, sock, options):
        self.sock, self.session, credentials = sock, c_void_p(), c_void_p()
        self._check(lib.gnutls_certificate_allocate_credentials(byref(credentials)))
        self._check(lib.gnutls_certificate_set_x509_trust_file(credentials, options.roots.encode(), X509_PEM))
        self._check(lib.gnutls_certificate_set_x509_key_file(credentials, options.certificate.encode(), options.key.encode(), X509_PEM))
        self._check(lib.gnutls_init(byref(self.session), SERVER if options.is_server else CLIENT))
        self._check(lib.gnutls_priority_set_direct(self.session, b"NORMAL:-VERS-ALL:+VERS-TLS1.3", None))
        self._check(lib.gnutls_credentials_set(self.session, CREDENTIALS_OF_CERTIFICATE, credentials))
        if options.is_server:
            lib.gnutls_certificate_server_set_request(self.session, 2)  # required
        if options.alpn:
            names = (Datum * len(options.alpn))(*[Datum(name.encode(), len(name)) for name in options.alpn])
            self._check(lib.gnutls_alpn_set_protocols(self.session, names, len(names), 0))
        lib.gnutls_transport_set_int2(self.session, sock.fileno(), sock.fileno())
        self._repeat(lib.gnutls_handshake, self.session)

    def _check(self, code):
        if code >= 0:
            return code
        text = lib.gnutls_strerror(code).decode()
        if code == FATAL_ALERT:
            text += " " + lib.gnutls_alert_get_name(lib.gnutls_alert_get(self.session)).decode()
        raise OSError(text)

    def _repeat(self, function, *arguments):
        while (code := function(*arguments)) < 0 and not lib.gnutls_error_is_fatal(int(code)):
            pass
        return self._check(int(code))

    def protocol(self):
        name = Datum()
        if lib.gnutls_alpn_get_selected_protocol(self.session, byref(name)) < 0:
            return None
        return name.data[:name.size].decode()

    def send(self, data):
        return self._repeat(lib.gnutls_record_send, self.session, data, len(data))

    def recv(self):
        buffer = ctypes.create_string_buffer(65536)
        return buffer.raw[:self._repeat(lib.gnutls_record_recv, self.session, buffer, len(buffer))]

    def finish(self):
        self._repeat(lib.gnutls_bye, self.session, SHUT_WR)

    def close(self):
        self.finish()
        self.sock.close()
