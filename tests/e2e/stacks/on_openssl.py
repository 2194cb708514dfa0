# SPDX-License-Identifier: Apache-2.0
"""OpenSSL, by Python's ssl. As ssl.SSLSocket does unless told otherwise, a FIN without close_notify counts as a clean end."""
import ssl
import threading


class Tls:
    def __init__(self, sock, options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if options.is_server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # a SPIFFE id is no host name
        context.load_cert_chain(options.certificate, options.key)
        context.load_verify_locations(options.roots)
        context.verify_mode = ssl.CERT_REQUIRED
        if options.alpn:
            context.set_alpn_protocols(options.alpn)
        self.sock, self.lock = sock, threading.Lock()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=options.is_server)
        self._run(self.tls.do_handshake)

    def _flush(self):
        self.sock.sendall(self.outgoing.read())

    def _run(self, step):
        while True:
            try:
                with self.lock:
                    try:
                        return step()
                    finally:
                        self._flush()
            except ssl.SSLWantReadError:
                data = self.sock.recv(65536)
                with self.lock:
                    self.incoming.write(data) if data else self.incoming.write_eof()

    def protocol(self):
        return self.tls.selected_alpn_protocol()

    def send(self, data):
        with self.lock:
            sent = self.tls.write(data)
            self._flush()
        return sent

    def recv(self):
        try:
            return self._run(lambda: self.tls.read(65536))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def finish(self):
        with self.lock:
            try:
                self.tls.unwrap()
            except ssl.SSLWantReadError:
                pass
            self._flush()

    def close(self):
        self.finish()
        self.sock.close()
