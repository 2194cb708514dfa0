# SPDX-License-Identifier: Apache-2.0
"""A policy agent in Python, a CA, and real sidecars that follow it: what test_policy_agent.py plays with."""
import contextlib
import queue
import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import mesh  # noqa: E402
from ca import Authority  # noqa: E402
from mesh import API, DOMAIN, WEB, Agent, Service, connect, exchange, join_address, run, wait_until  # noqa: E402
from policy_agent import PolicyAgent, mesh_pb2, pb, pem_to_der, sign  # noqa: E402

PORT = 8080
IDS = {"payments": API, "shop": WEB}


class World:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tabard-pa-"))
        self.authority = Authority(DOMAIN)
        self.address = f"unix:{self.folder}/pa.sock"
        self.seconds = 3600  # of a certificate
        self.issue_as = {}  # node id -> another id than its own
        self.agent = PolicyAgent(self.certify)
        self.server = None
        self.service = Service()
        self.sidecars = []

    def certify(self, node, csr, wanted):
        if node.id not in IDS:
            raise PermissionError(f"nobody knows the node {node.id}")
        if node.id in self.issue_as:
            return self.forge(csr, self.issue_as[node.id])
        return sign(mesh.PROGRAMS["tabard-ca"], self.authority.ca, csr, IDS[node.id], self.seconds)

    def forge(self, csr, spiffe_id):
        """What tabard-ca would refuse: another name than the request's."""
        request, names, made = (self.folder / name for name in ("csr", "names", "made.pem"))
        request.write_bytes(csr)
        names.write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectAltName=URI:{spiffe_id}\n")
        run("openssl", "x509", "-req", "-inform", "DER", "-in", request, "-CA", self.authority.roots, "-CAkey", self.authority.key,
            "-CAcreateserial", "-days", "1", "-extfile", names, "-out", made)
        return pem_to_der(made.read_text())

    def serve(self, agent=None):
        self.server, _ = (agent or self.agent).serve(self.address)

    def stop_serving(self):
        if self.server:
            self.server.stop(0).wait()
            self.server = None

    def bundle(self, authority=None):
        authority = authority or self.authority
        return mesh_pb2.TrustBundle(trust_domain=authority.domain, roots=pem_to_der(authority.roots.read_text()))

    def state(self, *destinations, principals=(WEB,)):
        rules = [mesh_pb2.Policy.Rule(principals=list(principals))]
        return pb.State(trust_bundles=[self.bundle()], destinations=destinations, policies=[
            mesh_pb2.Policy(name="shop-may-pay", action="ALLOW", mode="ENFORCE", ports=[PORT], rules=rules)])

    def destination(self, expect=API):
        host, port = self.inbound
        return mesh_pb2.Destination(name="payments", addresses=[host], ports=[port], mode="MTLS", identities=[expect])

    def sidecar(self, name, *, start=True, identity=None, access=None, **config):
        said = {"address": self.address, "node_id": name, "state": "state", "addresses": ["10.9.8.7"], **(access or {})}
        config["policy_agent"] = {key: value for key, value in said.items() if value is not None}
        if identity:
            config["identity"] = {"certificate": str(identity.chain), "key": str(identity.key)}
        made = Agent(name, config, start=False)
        self.sidecars.append(made)
        if start:
            made.start()
        return made

    def payments(self, **more):
        self.server_side = self.sidecar("payments", inbound_ports=[
            {"port": PORT, "mode": "MTLS", "listen": "127.0.0.1:0", "application": join_address(*self.service.address)}], **more)
        return self.server_side

    def shop(self, **more):
        self.client_side = self.sidecar("shop", forwards=[
            {"listen": "127.0.0.1:0", "destination": join_address(*self.inbound)}], **more)
        return self.client_side

    @property
    def inbound(self):
        return self.server_side.address("127.0.0.1:0")

    def pair(self, **more):
        """Both sidecars, and what lets the one call the other."""
        self.agent.set_state(self.state())
        self.serve()
        self.payments(**more)
        self.agent.set_state(self.state(self.destination()))
        self.shop(**more)

    def call(self):
        """One request of the shop's, through both sidecars. Returns the answer, or b'' if there was none."""
        with contextlib.suppress(ConnectionError), connect(self.client_side.address("127.0.0.1:0")) as sock:
            return exchange(sock, b"a question")
        return b""

    def stream(self, name):
        """The policy agent's view of a sidecar."""
        return wait_until(f"{name} has a stream", lambda: self.agent.sidecars.get(name))

    def result(self, name, nonce, seconds=10):
        """What the sidecar answered to a nonce: every nonce before it has its answer then, in order."""
        stream = self.stream(name)
        while True:
            try:
                got, error = stream.results.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"{name} answered nothing to {nonce}") from None
            if got == nonce:
                return error

    def close(self):
        for sidecar in self.sidecars:
            sidecar.close()
        self.stop_serving()
        self.service.close()
        self.authority.close()


def frame(kind, flags, stream, body=b""):
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


SETTINGS, SETTINGS_ACK = frame(4, 0, 0), frame(4, 1, 0)
GOAWAY = frame(7, 0, 0, bytes(8))
CONTENT_TYPE = b"application/grpc"
HEADERS = frame(1, 4, 1, b"\x88\x0f\x10" + bytes([len(CONTENT_TYPE)]) + CONTENT_TYPE)  # :status 200, content-type


class Hostile:
    """A server on a Unix socket that says its piece to everybody, and then nothing."""

    def __init__(self, path, *pieces):
        self.pieces = pieces
        self.num_connections = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.num_connections += 1
                threading.Thread(target=self.talk, args=(sock,), daemon=True).start()

    def talk(self, sock):
        with sock, contextlib.suppress(OSError):
            sock.recv(65536)
            for piece in self.pieces:
                sock.sendall(piece)
            while sock.recv(65536):
                pass

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def world():
    made = World()
    try:
        yield made
        for sidecar in made.sidecars:
            print(f"--- {sidecar.name}\n{sidecar.log()[-3000:]}")  # pytest shows it under a failed test
        for sidecar in made.sidecars:
            for line in sidecar.lines():
                assert line.get("level") != "error" or line["msg"] in EXPECTED_ERRORS, line
    finally:
        made.close()
        reports, Agent.reports = Agent.reports, []
        assert reports == [], "\n".join(reports)


EXPECTED_ERRORS = {"update refused", "the issued certificate has expired", "the certificate has expired: peers refuse it",
                    "stored state refused", "state not stored: a restart would not find it"}
