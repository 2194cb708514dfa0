# SPDX-License-Identifier: Apache-2.0
"""A policy agent in Python: it gives each sidecar its identity, and all of them one state.

It is short so that it can be read, and copied. It needs python3-grpcio, python3-protobuf and python3-grpc-tools, which
makes the stubs from our .proto files, and a CA's folder made by `tabard-ca init`. As a program:

    policy_agent.py --listen unix:/run/tabard/policy.sock --ca DIR --state state.yaml --id NODE=spiffe://...
"""
import argparse
import itertools
import queue
import subprocess
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[2]


def stubs():
    """The Python modules of proto/tabard/v1/*.proto, made on the spot."""
    folder = tempfile.TemporaryDirectory(prefix="tabard-stubs-")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={folder.name}",
                    f"--grpc_python_out={folder.name}", "tabard/v1/mesh.proto", "tabard/v1/policy_agent.proto"], check=True)
    sys.path.insert(0, folder.name)
    from tabard.v1 import mesh_pb2, policy_agent_pb2, policy_agent_pb2_grpc
    sys.path.remove(folder.name)
    folder.cleanup()
    return mesh_pb2, policy_agent_pb2, policy_agent_pb2_grpc


mesh_pb2, pb, pb_grpc = stubs()


class Sidecar:
    """One stream: what waits to be sent, and what became of what was sent."""

    def __init__(self, node):
        self.node = node
        self.outbox = queue.Queue()  # responses; None ends the stream
        self.results = queue.Queue()  # (nonce, error), in order; an empty error is an ACK
        self.nonces = itertools.count(1)
        self.has_base = True  # it takes deltas: nothing was refused since the last state

    def push(self, **what):
        """Sends a response, gives it a nonce, and returns that."""
        nonce = str(next(self.nonces))
        self.outbox.put(pb.SubscribeResponse(nonce=nonce, **what))
        return nonce


class PolicyAgent(pb_grpc.PolicyAgentServicer):
    def __init__(self, certify):
        """`certify(node, csr, wanted)` returns a chain of DER certificates, or raises PermissionError(why)."""
        self.certify = certify
        self.version = 0
        self.state = pb.State()
        self.sidecars = {}  # by node id: those whose stream is open
        self.changed = threading.Condition()  # of all the above

    # What the operator says.

    def set_state(self, state):
        """Everything anew, to everybody."""
        with self.changed:
            self.version += 1
            self.state = state
            return [self.push_state(sidecar) for sidecar in self.sidecars.values()]

    def push_state(self, sidecar, **more):
        sidecar.has_base = True
        return sidecar.push(version=self.version, state=self.state, **more)

    def change_destinations(self, put=(), removed=()):
        """Only what changed."""
        with self.changed:
            self.version += 1
            gone = {destination.name for destination in put} | set(removed)
            kept = [destination for destination in self.state.destinations if destination.name not in gone]
            del self.state.destinations[:]
            self.state.destinations.extend([*kept, *put])
            delta = pb.DestinationDelta(set=put, removed=removed)
            return [sidecar.push(version=self.version, destinations=delta) if sidecar.has_base else self.push_state(sidecar)
                    for sidecar in self.sidecars.values()]

    # What sidecars say.

    def Subscribe(self, requests, context):
        try:
            first = next(requests)
            self.admit(first.node, context)
        except StopIteration:
            return
        except PermissionError as why:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(why))
        sidecar = Sidecar(first.node)
        with self.changed:
            # The state is sent whatever first.version_in_force is; the first one brings the certificate.
            self.push_state(sidecar, **self.answer(sidecar, first))
            self.sidecars[sidecar.node.id] = sidecar
            self.changed.notify_all()
        threading.Thread(target=self.listen, args=(sidecar, requests), daemon=True).start()
        yield from iter(sidecar.outbox.get, None)

    def admit(self, node, context):
        """Raises PermissionError for whom it doesn't know. Here everybody may come who reaches the socket."""

    def listen(self, sidecar, requests):
        try:
            for request in requests:
                if request.HasField("result"):
                    sidecar.results.put((request.result.nonce, request.result.error))
                    sidecar.has_base = sidecar.has_base and not request.result.error
                if request.HasField("certificate_request"):
                    sidecar.push(**self.answer(sidecar, request))
        except grpc.RpcError:
            pass  # it went
        with self.changed:
            if self.sidecars.get(sidecar.node.id) is sidecar:
                del self.sidecars[sidecar.node.id]
            self.changed.notify_all()
        sidecar.outbox.put(None)

    def answer(self, sidecar, request):
        """The part of a response that answers a certificate_request."""
        if not request.HasField("certificate_request"):
            return {}
        wanted = request.certificate_request
        try:
            chain = self.certify(sidecar.node, wanted.csr, wanted.spiffe_id)
            return {"certificate": pb.IssuedCertificate(chain=chain)}
        except PermissionError as why:
            return {"certificate_error": str(why)}

    def serve(self, address, credentials=None):
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))  # one for each stream
        pb_grpc.add_PolicyAgentServicer_to_server(self, server)
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        if not port:
            raise OSError(f"{address} can't be listened on")
        server.start()
        return server, port


def pem_to_der(pem):
    import ssl
    blocks = [part for part in pem.split("-----END CERTIFICATE-----") if "-----BEGIN" in part]
    return [ssl.PEM_cert_to_DER_cert(block[block.index("-----BEGIN"):] + "-----END CERTIFICATE-----\n") for block in blocks]


def sign(tabard_ca, folder, csr, spiffe_id, seconds=3600):
    """Has tabard-ca sign a request: its key, and the name that we say."""
    import base64
    with tempfile.TemporaryDirectory() as work:
        body = base64.encodebytes(csr).decode()
        Path(work, "csr").write_text(f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n")
        done = subprocess.run([tabard_ca, "sign-csr", "--dir", folder, "--csr", f"{work}/csr", "--id", spiffe_id,
                               "--seconds", str(seconds), "--out-cert", f"{work}/chain"], capture_output=True, text=True)
        if done.returncode != 0:
            raise PermissionError(done.stderr.strip())
        return pem_to_der(Path(work, "chain").read_text())


def main():
    import yaml
    from google.protobuf import json_format
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--ca", required=True, help="a folder made by tabard-ca init")
    parser.add_argument("--state", required=True, help="a State of policy_agent.proto, as YAML")
    parser.add_argument("--id", action="append", default=[], help="NODE=SPIFFE_ID: who a node is")
    parser.add_argument("--tabard-ca", default="tabard-ca")
    options = parser.parse_args()
    ids = dict(pair.split("=", 1) for pair in options.id)

    def certify(node, csr, wanted):
        if node.id not in ids or wanted not in ("", ids[node.id]):
            raise PermissionError(f"node {node.id} may not be {wanted or 'anybody'}")
        return sign(options.tabard_ca, options.ca, csr, ids[node.id])

    agent = PolicyAgent(certify)
    agent.set_state(json_format.ParseDict(yaml.safe_load(Path(options.state).read_text()), pb.State()))
    agent.serve(options.listen)[0].wait_for_termination()


if __name__ == "__main__":
    main()
