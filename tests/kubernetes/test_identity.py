# SPDX-License-Identifier: Apache-2.0
"""Who gets which identity, and by what: tokens of service accounts, good ones and every other kind, shown to a real policyd."""
import base64
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

import install
import pods
import workloads
from daemon import Failed, wait_until

pytestmark = pytest.mark.cluster

pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")

ASK = Path(__file__).resolve().parent / "ask.py"
PROGRAMS = Path(__file__).resolve().parents[2] / "bazel-bin"
TRUST_DOMAIN = "cluster.local"


class Policyd:
    """Where it is asked, and what proves it."""

    def __init__(self, kube, mesh, folder):
        self.kube, self.mesh, self.folder = kube, mesh, folder
        self.address = mesh.json("get", "service", "tabard-policyd")["spec"]["clusterIP"]
        (folder / "ca").mkdir()
        roots = mesh.json("get", "secret", "tabard-ca")["data"]["roots.pem"]
        (folder / "ca/ca.pem").write_bytes(base64.b64decode(roots))

    def words(self, token, wanted="", hold="-"):
        return [sys.executable, "-B", ASK, self.address, "15012", self.folder, token, wanted, hold]

    def ask(self, token, wanted=""):
        """(code, text) of a refusal, or ("OK", the certificate's SPIFFE id)."""
        done = self.kube.run(*self.words(token, wanted))
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        if "code" in said:
            return said["code"], said["text"]
        return ("OK", id_of(said["certificate"])) if said["certificate"] else ("no certificate", said["error"])

    @contextlib.contextmanager
    def held(self, token):
        """A stream that stays; yields a function that returns the next line."""
        asking = self.kube.start(*self.words(token, hold="hold"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def told(next_token=None):
            if next_token is not None:
                asking.stdin.write(f"{next_token}\n")
                asking.stdin.flush()
            return json.loads(asking.stdout.readline())

        try:
            yield told
        finally:
            asking.kill()
            asking.communicate()

    def log(self):
        return self.mesh("logs", "-l", "app.kubernetes.io/component=policyd", "--tail=-1", "--prefix", check=False)

    def pods(self):
        return self.mesh.json("get", "pods")["items"]


def id_of(certificate):
    shown = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=certificate, text=True,
                           capture_output=True, check=True).stdout
    return shown.split("URI:")[1].split()[0].rstrip(",")


def life_of(said):
    """Seconds from when a certificate was issued to its end, or why there is none. Its beginning lies a minute back, for clocks
    that disagree."""
    if not said["certificate"]:
        return said["error"]
    read = x509.load_pem_x509_certificate(said["certificate"].encode())
    return (read.not_valid_after - read.not_valid_before).total_seconds() - 60


@pytest.fixture
def policyd(kube, mesh, tmp_path):
    return Policyd(kube, mesh, tmp_path)


@pytest.fixture
def web(meshed):
    meshed.apply(*workloads.caller("web"))
    meshed.rolled_out("deployment/web")
    return meshed


def the_pod(kube, app="web"):
    return next(pod for pod in kube.json("get", "pods", "-l", f"app={app}")["items"] if not pod["metadata"].get("deletionTimestamp"))


def token(kube, account, pod=None, audience="tabard.dev", **more):
    bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod["metadata"]["name"]] if pod else []
    return kube("create", "token", account, "--audience", audience, *bound, *(f"--{key}={value}" for key, value in more.items())).strip()


def memory_holds(pid, text):
    """Whether a process has the text in memory that it may write to."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            begin, end = (int(number, 16) for number in line.split()[0].split("-"))
            if line.split()[1].startswith("rw"):
                with contextlib.suppress(OSError):
                    memory.seek(begin)
                    if text in memory.read(end - begin):
                        return True
    return False


def test_a_token_of_a_pod_gives_its_account_s_identity_and_no_other(policyd, web):
    pod = the_pod(web)
    good = token(web, "web", pod)
    mine = f"spiffe://{TRUST_DOMAIN}/ns/{web.namespace}/sa/web"
    assert policyd.ask(good) == ("OK", mine)
    line = next(line for line in policyd.log().splitlines() if "msg=issued" in line and pod["metadata"]["uid"] in line)
    assert f" pod={web.namespace}/{pod['metadata']['name']} " in line and " serial=" in line
    code, text = policyd.ask(good, wanted=f"spiffe://{TRUST_DOMAIN}/ns/tabard-system/sa/tabard-policyd")
    assert code == "PERMISSION_DENIED" and text.startswith("account_of_another: ")


def test_tokens_of_every_other_kind_are_refused_each_for_its_own_reason(policyd, web, namespace):
    pod = the_pod(web)
    namespace.apply(*workloads.caller("stranger"))
    namespace.rolled_out("deployment/stranger")
    web("create", "serviceaccount", "other")
    head, load, signature = token(web, "web", pod).split(".")
    rows = [
        ("account_audience", token(web, "web", pod, audience="https://kubernetes.default.svc.cluster.local")),
        ("no_pod", token(web, "web")),
        ("account_malformed", "a.token"),
        ("account_refused", f"{head}.{load}.{signature[:-8]}AAAAAAAA"),
        ("pod_gone", token(namespace, "stranger", the_pod(namespace, "stranger"))),  # it is there, and not in the mesh
        ("no_proof", ""),
    ]
    for reason, shown in rows:
        code, text = policyd.ask(shown)
        assert code == "UNAUTHENTICATED" and text.startswith(f"{reason}: "), (reason, code, text)
    log = policyd.log()
    assert not any(len(shown) > 99 and shown.split(".")[1] in log for _, shown in rows), "a token is in the log"
    assert all(f"{reason}: " in log for reason, _ in rows), log[-4000:]


def test_a_pod_that_is_deleted_loses_its_stream_and_gets_no_certificate(policyd, web):
    pod = the_pod(web)
    # A second token of the same pod is as good as the first.
    first, second = token(web, "web", pod), token(web, "web", pod)
    other = token(web, "default")
    with policyd.held(first) as told:
        assert told()["certificate"]
        assert "no_pod" in told(other)["error"]
        assert told(second)["certificate"]
        web("scale", "deployment/web", "--replicas=0")
        web("delete", "pod", pod["metadata"]["name"], "--wait=true", "--ignore-not-found", "--grace-period=1")
        end = told("")
        assert end["code"] == "UNAUTHENTICATED" and "the pod is gone" in end["text"]
    # The API server goes on to believe the token for some 10 s, and says then that it is over.
    for _ in range(2):
        code, text = policyd.ask(second)
        assert code == "UNAUTHENTICATED" and text.startswith("pod_gone: ")
        time.sleep(11)


def test_certificates_live_as_long_as_the_settings_say_and_a_change_counts_for_the_next_one(kube, policyd, web):
    pod = the_pod(web)
    with policyd.held(token(web, "web", pod)) as told:
        assert life_of(told()) == 3600
        # The same pod asks again, on the stream that it has.
        again = token(web, "web", pod)
        with install.certificates_of(kube, 60):
            wait_until(lambda: life_of(told(again)) == 60, "the next one lives a minute", seconds=10, every=2)
            with pytest.raises(Failed, match="spec.certificateSeconds: Invalid value: 59: .* greater than or equal to 60"):
                install.set_certificate_seconds(kube, 59)
            assert life_of(told(again)) == 60


def test_a_deleted_account_admits_nobody(policyd, web):
    good = token(web, "web", the_pod(web))
    web("delete", "serviceaccount", "web")
    refused = wait_until(lambda: (found := policyd.ask(good))[0] != "OK" and found, "the token is refused", seconds=30, every=1)
    assert refused[0] == "UNAUTHENTICATED" and refused[1].startswith("account_gone: ")


def test_a_certificate_that_a_pod_brings_is_used_and_none_is_asked_for(kube, mesh, policyd, meshed, tmp_path):
    ca = mesh.json("get", "secret", "tabard-ca")["data"]
    (tmp_path / "own").mkdir()
    for name in ("ca.pem", "ca.key"):
        (tmp_path / "own" / name).write_bytes(base64.b64decode(ca[name]))
    (tmp_path / "own/ca.key").chmod(0o600)
    mine = f"spiffe://{TRUST_DOMAIN}/ns/{meshed.namespace}/sa/client"
    subprocess.run([PROGRAMS / "certs/ca/tabard-ca", "issue", "--dir", tmp_path / "own", "--id", mine, "--out-cert", tmp_path / "tls.crt",
                    "--out-key", tmp_path / "tls.key"], check=True, capture_output=True)
    meshed("create", "secret", "tls", "own", f"--cert={tmp_path / 'tls.crt'}", f"--key={tmp_path / 'tls.key'}")
    account, client = workloads.caller("client", annotations={"config.tabard.dev/certificate-volume": "own"})
    client["spec"]["template"]["spec"]["volumes"] = [{"name": "own", "secret": {"secretName": "own"}}]
    meshed.apply(account, client, *workloads.server("web"), workloads.policy("web", meshed.namespace, "client", to="web"))
    for name in ("client", "web"):
        meshed.rolled_out(f"deployment/{name}")
    assert json.loads(meshed.exec("deployment/client", "/bin/app", "call", "http://web"))["name"] == "web"
    assert f"peer={mine} " in meshed("logs", "deployment/web", "-c", "tabard")
    log = [line for line in policyd.log().splitlines() if f" id={mine} " in line]
    assert any("msg=admitted" in line and " by=certificate " in line for line in log), log
    assert not any("msg=issued" in line for line in log), log


def test_without_an_api_server_a_sidecar_is_told_to_come_again(own_cluster, policyd, web):
    good = token(web, "web", the_pod(web))
    own_cluster.lose_api_server()
    try:
        begun = time.monotonic()
        code, text = policyd.ask(good)
        assert code == "UNAVAILABLE" and text.startswith("unreviewed: ") and time.monotonic() - begun < 15
    finally:
        own_cluster.resume("kube-apiserver")
    wait_until(lambda: policyd.ask(good)[0] == "OK", "the token is good again", seconds=30, every=1)


def test_no_token_stays_in_policyd_s_memory(own_cluster, policyd, web):
    good = token(web, "web", the_pod(web))
    for _ in range(4):  # whichever replica answers
        assert policyd.ask(good)[0] == "OK"
    for pod in policyd.pods():
        [pid] = pods.pids(own_cluster, pod, "tabard-policyd")
        assert not memory_holds(pid, good[40:140].encode()), "of a token that was reviewed"
