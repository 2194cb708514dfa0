# SPDX-License-Identifier: Apache-2.0
"""tabard-policyd as an object, and a sidecar played with grpcio: stubs are made from our .proto when needed."""
import contextlib
import json
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "e2e")]

import grpc  # noqa: E402

from ca import Authority, _openssl  # noqa: E402
from mesh import DOMAIN, PROGRAMS, REPORT, ROOT, Missing, fields, run, split_address, wait_until  # noqa: E402

METHOD = "/tabard.v1.PolicyAgent/Subscribe"
PROGRAMS.setdefault("tabard-policyd", ROOT / "bazel-bin/control/policyd/tabard-policyd")


def _stubs():
    folder = Path(tempfile.mkdtemp(prefix="tabard-stubs-"))
    subprocess.run(["protoc", f"-I{ROOT}/proto", f"--python_out={folder}", "tabard/v1/mesh.proto", "tabard/v1/policy_agent.proto"],
                   check=True)
    sys.path.insert(0, str(folder))
    from tabard.v1 import policy_agent_pb2
    shutil.rmtree(folder)
    return policy_agent_pb2


pb = _stubs()


def spiffe(name):
    return f"spiffe://{DOMAIN}/ns/fleet/sa/{name}"


def workload(name, address=None, **more):
    made = {"spiffe_id": spiffe(name), "by_join_token": True, "by_certificate": True}
    if address:
        made |= {"addresses": [address], "ports": [8080]}
    return made | more


def allow(name, target, *principals, ports=()):
    return {"targets": [target], "policy": {"name": name, "action": "ALLOW", "mode": "ENFORCE", "ports": list(ports),
                                            "rules": [{"principals": list(principals)}]}}


class Policyd:
    """One tabard-policyd on a folder; several may share it."""

    alive = []

    def __init__(self, fleet=None, *, folder=None, arguments=(), netns=None, start=True, listen="127.0.0.1:0"):
        self.owns = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tabard-policyd-"))
        self.netns = netns
        if self.owns:
            run("tabard-ca", "init", "--dir", self.folder / "ca", "--trust-domain", DOMAIN)
            (self.folder / "fleet").mkdir()
        if fleet is not None:
            self.write("fleet", fleet)
        self.num = len(Policyd.alive)
        self.unix = self.folder / f"policyd-{self.num}.sock"
        self.log_path = self.folder / f"log-{self.num}"
        self.log_path.touch()
        self.arguments = ["--dir", self.folder, "--unix", self.unix, "--listen", listen, "--metrics", "127.0.0.1:0", *arguments]
        self.process = None
        Policyd.alive.append(self)
        if start:
            self.start()

    def start(self):
        mark = self.mark()
        command = ["setpriv", "--pdeathsig", "KILL", str(PROGRAMS["tabard-policyd"]), *map(str, self.arguments)]
        if self.netns:
            command = self.netns.command(command)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_line(mark, msg="started")
        self.tcp = split_address(self.wait_line(mark, msg="listening", what="tcp")["address"])
        self.metrics_at = split_address(self.wait_line(mark, msg="listening", what="metrics")["address"])
        return self

    def write(self, name, fleet):
        new = self.folder / "fleet" / f".{name}.new"
        new.write_text(fleet if isinstance(fleet, str) else json.dumps(fleet, indent=1) + "\n")
        new.rename(self.folder / "fleet" / f"{name}.yaml")

    def apply(self, fleet, name="fleet"):
        mark = self.mark()
        self.write(name, fleet)
        self.wait_line(mark, msg="fleet in force")

    def token(self, name, *flags):
        return run("tabard-policyd", "token", "--dir", self.folder, "--id", spiffe(name), *flags).stdout.strip()

    def issue(self, name, *flags):
        """A certificate by tabard-ca: (chain, key) paths."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        run("tabard-ca", "issue", "--dir", self.folder / "ca", "--id", spiffe(name), "--out-cert", made / "pem", "--out-key",
            made / "key", *flags)
        return made / "pem", made / "key"

    def log(self, mark=0):
        with open(self.log_path, "rb") as file:
            file.seek(mark)
            return file.read().decode(errors="replace")

    def mark(self):
        return self.log_path.stat().st_size

    def lines(self, mark=0, **wanted):
        wanted = {key: str(value) for key, value in wanted.items()}
        return [line for line in map(fields, self.log(mark).splitlines())
                if all(line.get(key) == value for key, value in wanted.items())]

    def wait_line(self, mark=0, seconds=10, **wanted):
        def look():
            found = self.lines(mark, **wanted)
            if not found and self.process.poll() is not None:
                raise Missing(f"tabard-policyd exited {self.process.returncode}:\n{self.log()}")
            return found
        return wait_until(f"a line of {wanted}", look, seconds)[-1]

    def metrics(self):
        import http.client
        with self.netns.entered() if self.netns else contextlib.nullcontext():
            connection = http.client.HTTPConnection(*self.metrics_at, timeout=10)
            connection.connect()
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name.removeprefix("tabard_policyd_"): float(value) for name, value in samples}

    def stop(self, how=signal.SIGTERM, seconds=20):
        self.process.send_signal(how)
        return self.process.wait(timeout=seconds)

    def close(self):
        if self in Policyd.alive:
            Policyd.alive.remove(self)
        code = None
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                code = self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                code = "hung"
        report = REPORT.search(self.log())
        text = self.log()
        if self.owns:
            shutil.rmtree(self.folder, ignore_errors=True)
        if report or code not in (None, 0):
            raise AssertionError(f"tabard-policyd ended with {code}: {text[-4000:]}")


class Refused(Exception):
    def __init__(self, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code, self.text = error.code(), error.details()


def csr(key="ec", names=(), subject="/CN=sidecar"):
    """(DER of a request, PEM of its key)"""
    from ca import KEYS
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _openssl("genpkey", *KEYS[key], "-out", folder / "key")
        extra = ["-addext", "subjectAltName=" + ",".join(names)] if names else []
        _openssl("req", "-new", "-key", folder / "key", "-subj", subject, "-outform", "DER", "-out", folder / "csr", *extra)
        return (folder / "csr").read_bytes(), (folder / "key").read_bytes()


class Sidecar:
    """A stream to a policyd, as a sidecar would hold it. It answers nothing by itself."""

    def __init__(self, policyd, name="caller", *, node=None, token="", addresses=(), tcp=False, chain=None, key=None, request=None,
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

    def ask(self, request, spiffe_id=""):
        self.requests.put(pb.SubscribeRequest(certificate_request=pb.CertificateRequest(csr=request, spiffe_id=spiffe_id)))

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
