# SPDX-License-Identifier: Apache-2.0
"""A sidecar played with grpcio: stubs are made from our .proto when needed."""
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import grpc

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from policyd_process import ROOT, Policyd, allow, spiffe, workload  # noqa: F401  (e2e is on the path from here on)
from ca import KEYS, _openssl

METHOD = "/tabard.v1.PolicyAgent/Subscribe"


def _stubs():
    folder = Path(tempfile.mkdtemp(prefix="tabard-stubs-"))
    subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={folder}", "tabard/v1/mesh.proto", "tabard/v1/policy_agent.proto"],
                   check=True)
    sys.path.insert(0, str(folder))
    from tabard.v1 import policy_agent_pb2
    shutil.rmtree(folder)
    return policy_agent_pb2


pb = _stubs()


class Refused(Exception):
    def __init__(self, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code, self.text = error.code(), error.details()


def csr(key="ec", names=(), subject="/CN=sidecar"):
    """(DER of a request, PEM of its key)"""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _openssl("genpkey", *KEYS[key], "-out", folder / "key")
        extra = ["-addext", "subjectAltName=" + ",".join(names)] if names else []
        _openssl("req", "-new", "-key", folder / "key", "-subj", subject, "-outform", "DER", "-out", folder / "csr", *extra)
        return (folder / "csr").read_bytes(), (folder / "key").read_bytes()


class Sidecar:
    """A stream to a policyd, as a sidecar would hold it. It answers nothing by itself."""

    def __init__(self, policyd, name="caller", *, node=None, token="", account="", addresses=(), tcp=False, chain=None, key=None, request=None,
                 spiffe_id="", version=0, deltas=True, raw=None, first=True):
        if tcp:
            roots = (policyd.folder / "ca/ca.pem").read_bytes()
            credentials = grpc.ssl_channel_credentials(roots, key, chain)
            self.channel = grpc.secure_channel("%s:%d" % policyd.tcp, credentials,
                                               [("grpc.ssl_target_name_override", "tabard-policyd"),
                                                ("grpc.use_local_subchannel_pool", 1)])
        else:
            self.channel = grpc.insecure_channel(f"unix:{policyd.unix}", [("grpc.use_local_subchannel_pool", 1),
                                                                          ("grpc.default_authority", "localhost")])
        self.requests, self.responses = queue.Queue(), queue.Queue()
        serialize = (lambda message: message) if raw else pb.SubscribeRequest.SerializeToString
        self.call = self.channel.stream_stream(METHOD, serialize, pb.SubscribeResponse.FromString)(iter(self.requests.get, None))
        threading.Thread(target=self._read, daemon=True).start()
        if raw:
            self.requests.put(raw)
        elif first:
            message = pb.SubscribeRequest(version_in_force=version)
            message.node.id = node or name
            message.node.addresses.extend(addresses)
            message.node.join_token = token
            message.node.service_account_token = account
            message.node.metadata["spiffe_id"] = spiffe_id
            if deltas:
                message.node.capabilities.append("destination_deltas")
            if request is not None:
                message.certificate_request.csr = request
                message.certificate_request.spiffe_id = spiffe_id
            self.requests.put(message)

    def _read(self):
        try:
            for response in self.call:
                self.responses.put(response)
            self.responses.put(None)
        except grpc.RpcError as error:
            self.responses.put(Refused(error))

    def next(self, seconds=10):
        """The next response; raises Refused when the stream ended with a status."""
        got = self.responses.get(timeout=seconds)
        if isinstance(got, Refused):
            raise got
        return got

    def ack(self, response, error=""):
        self.requests.put(pb.SubscribeRequest(result=pb.Result(nonce=response.nonce, error=error)))

    def take(self, seconds=10):
        response = self.next(seconds)
        self.ack(response)
        return response

    def ask(self, request, spiffe_id="", account=""):
        wanted = pb.CertificateRequest(csr=request, spiffe_id=spiffe_id, service_account_token=account)
        self.requests.put(pb.SubscribeRequest(certificate_request=wanted))

    def is_silent(self, seconds=0.2):
        try:
            self.responses.put(self.responses.get(timeout=seconds))
        except queue.Empty:
            return True
        return False

    def close(self):
        self.requests.put(None)
        self.call.cancel()
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


CALLER, API, OTHER = map(spiffe, ("caller", "api", "other"))


def fleet(*policies, **more):
    return {"workloads": [workload("caller", unix_uids=[os.getuid()]), workload("api", "10.0.0.0/24", dns_names=["api.demo"]),
                          workload("other", "10.0.0.0/16")],
            "policies": list(policies) or [allow("api-is-called", API, CALLER, ports=[8080])], **more}


def token_of(policyd, name="api", **more):
    return {"token": policyd.token(name), "tcp": True, "addresses": ["10.0.0.5"], **more}


def refusal(**arguments):
    sidecar = Sidecar(**arguments)
    try:
        while True:
            sidecar.take()
    except Refused as error:
        return error.code.name, error.text
    finally:
        sidecar.close()


def pem_of(chain):
    import ssl
    return "".join(map(ssl.DER_cert_to_PEM_cert, chain)).encode()
