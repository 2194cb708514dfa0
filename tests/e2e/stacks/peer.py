# SPDX-License-Identifier: Apache-2.0
"""A TLS peer on OpenSSL, GnuTLS or NSS. Every program in this folder takes the same command line and says the same:

    peer.py LIBRARY ROLE HOST PORT CERTIFICATE KEY ROOTS [name=value...]

ROLE is `client` or `server`; a server takes one connection. It says `hello` first, then reads to the end of the stream.
    alpn=A,B   the protocols to offer or to select from, in this order
    end=WAY    what it does itself once it has read something: `close`, the library's usual way; `finish`, close_notify in
               its own direction alone; `fin`, a FIN without close_notify; `reset`
    wait=yes   reads nothing before a line comes on its standard input
    send=N     says N zero bytes instead of `hello`, while it reads
    take=N     reads N bytes, and closes once all is said
Lines on standard output: `listening PORT`, `connected PROTOCOL` (`-`: none), then one of `N bytes, clean`,
`N bytes, error: TEXT` and `N bytes, closed`, which says how the stream ended.
"""
import importlib
import socket
import struct
import sys
import threading


def tell(text):
    print(text, flush=True)


class Options:
    def __init__(self, arguments):
        self.library, self.role, self.host, port, self.certificate, self.key, self.roots, *more = arguments
        self.port = int(port)
        self.is_server = self.role == "server"
        named = dict(argument.split("=", 1) for argument in more)
        self.alpn = [name for name in named.get("alpn", "").split(",") if name]
        self.end = named.get("end", "")
        self.wait = "wait" in named
        self.send = int(named.get("send", 0))
        self.take = int(named.get("take", 0))


def open_socket(options):
    if not options.is_server:
        return socket.create_connection((options.host, options.port))
    with socket.create_server((options.host, options.port)) as listener:
        tell(f"listening {listener.getsockname()[1]}")
        return listener.accept()[0]


def end_by_itself(options, tls, sock):
    """Returns whether it reads on."""
    if options.end == "close":
        tls.close()
    elif options.end == "finish":
        tls.finish()
    elif options.end == "fin":
        sock.shutdown(socket.SHUT_WR)
    elif options.end == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.detach_and_close()
    return options.end in ("finish", "fin", "")


def say(options, tls):
    left = options.send
    try:
        if left == 0:
            tls.send(b"hello\n")
        while left > 0:
            left -= tls.send(bytes(min(left, 65536)))
    except OSError:
        pass  # the reader tells how the stream ended


def read(options, tls, sock, sender):
    total = 0
    try:
        while data := tls.recv():
            is_first = total == 0
            total += len(data)
            if is_first and options.end and not end_by_itself(options, tls, sock):
                return f"{total} bytes, closed"
            if 0 < options.take <= total:
                sender.join()
                tls.close()
                return f"{total} bytes, closed"
        return f"{total} bytes, clean"
    except OSError as error:
        return f"{total} bytes, error: {error}"


class Socket(socket.socket):
    """One that can be closed although a library knows its descriptor."""

    def detach_and_close(self):
        socket.close(self.detach())


def main():
    options = Options(sys.argv[1:])
    plain = open_socket(options)
    sock = Socket(fileno=plain.detach())
    tls = importlib.import_module(f"on_{options.library}").Tls(sock, options)
    tell(f"connected {tls.protocol() or '-'}")
    sender = threading.Thread(target=say, args=(options, tls), daemon=True)
    sender.start()
    if not options.send:
        sender.join()
    if options.wait:
        sys.stdin.readline()
    tell(read(options, tls, sock, sender))
    sys.stdin.readline()  # the sockets stay open until the test has seen enough


if __name__ == "__main__":
    main()
