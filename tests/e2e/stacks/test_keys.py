# SPDX-License-Identifier: Apache-2.0
"""KeyUpdates (RFC 8446, section 4.6.3): every stack follows our new keys, and Java's limit on a key is never reached."""
import threading

import pytest

import stacks as tls_stacks
from mesh import API, WEB, Agent, Service, connect
from pair import client_config, server_config

MUCH = 24 << 20
SOME = 1200000  # some 75 records: few enough for GnuTLS, which takes eight KeyUpdates in a second
# Java asks for new keys after 128 GiB by default (2^37 bytes).
JAVA_LIMITS = "jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate 2^20, ChaCha20-Poly1305 KeyUpdate 2^20\n"


@pytest.fixture(scope="module")
def stacks():
    made = tls_stacks.Stacks()
    yield made
    made.close()


@pytest.fixture
def java(tmp_path):
    """Flags of a Java machine that asks for new keys after a mebibyte."""
    if tls_stacks.why_not("java"):
        pytest.skip(tls_stacks.why_not("java"))
    (tmp_path / "security").write_text(JAVA_LIMITS)
    return [f"-Djava.security.properties={tmp_path / 'security'}"]


def limits(key_records):
    return {"limits": {"key_records": key_records}} if key_records else {}


class Application:
    """Says `num` bytes and reads as many as come before an end."""

    def __init__(self, num):
        self.num, self.num_read, self.end = num, 0, None

    def __call__(self, sock):
        sock.settimeout(40)
        sender = threading.Thread(target=self._send, args=(sock,))
        sender.start()
        try:
            while data := sock.recv(65536):
                self.num_read += len(data)
            self.end = "clean"
        except OSError as error:
            self.end = str(error)
        sender.join()

    def _send(self, sock):
        try:
            for _ in range(self.num // 65536):
                sock.sendall(bytes(65536))
        except OSError as error:
            self.end = str(error)


def stream_both_ways(stacks, authority, keep, java, role, key_records):
    """Between an application and a Java peer; returns how it ended for either."""
    application = Application(MUCH)
    if role == "server":
        service = keep(Service(application))
        agent = keep(Agent("payments", server_config(authority, service.address, **limits(key_records))))
        peer = keep(stacks.peer("java", "client", agent.address("127.0.0.1:0"), authority.issue("web", WEB), authority.roots, java=java,
                                send=MUCH, take=MUCH))
        end = peer.outcome(seconds=60)
    else:
        peer = keep(stacks.peer("java", "server", ("127.0.0.1", 0), authority.issue("api", API), authority.roots, java=java, send=MUCH,
                                take=MUCH))
        agent = keep(Agent("shop", client_config(authority, ("127.0.0.1", peer.port()), **limits(key_records))))
        with connect(agent.address("127.0.0.1:0"), seconds=40) as sock:
            application(sock)
        end = peer.outcome(seconds=60)
    line = agent.wait_conn(seconds=40)
    return end, (application.num_read, application.end), (line["reason"], line.get("detail"))


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_java_peer_streams_for_long_if_our_keys_are_renewed_before_its_limit(stacks, authority, keep, java, role):
    ends = stream_both_ways(stacks, authority, keep, java, role, 32)  # half a mebibyte at most
    assert ends == ((MUCH, "closed"), (MUCH, "clean"), ("finished", None)), ends


def test_every_stack_follows_our_new_keys(stacks, authority, keep):
    def serve(sock):
        sock.recv(100)
        sock.sendall(bytes(SOME))

    agent = keep(Agent("payments", server_config(authority, keep(Service(serve)).address, **limits(16))))
    web = authority.issue("web", WEB)
    peers = {name: keep(stacks.peer(name, "client", agent.address("127.0.0.1:0"), web, authority.roots))
             for name in tls_stacks.STACKS if not tls_stacks.why_not(name)}
    ends = {name: peer.outcome() for name, peer in peers.items()}
    assert set(ends.values()) == {(SOME, "clean")}, ends
