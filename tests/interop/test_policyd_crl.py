# SPDX-License-Identifier: Apache-2.0
"""What policyd does with CRLs: of its CA, of one above it, of the one before it; stale, older, broken."""
import shutil
import ssl
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from policyd import API, CALLER, Policyd, Refused, Sidecar, allow, fleet, refusal  # noqa: E402
from mesh import DOMAIN, Agent, run, wait_until  # noqa: E402


@pytest.fixture
def policyd():
    made = Policyd(fleet())
    yield made
    made.close()


def test_a_revoked_certificate_ends_its_stream_and_admits_nobody(policyd):
    chain, key = policyd.issue("api")
    shown = {"policyd": policyd, "name": "api", "tcp": True, "chain": chain.read_bytes(), "key": key.read_bytes(), "addresses": ["10.0.0.5"]}
    with Sidecar(**shown) as api:
        api.take()
        run("tabard-ca", "revoke", "--dir", policyd.folder / "ca", "--cert", chain)
        with pytest.raises(Refused) as refused:
            while True:
                api.take()
    assert (refused.value.code.name, refused.value.text) == ("PERMISSION_DENIED", "the certificate is revoked")
    code, text = refusal(**shown)
    assert code == "UNAUTHENTICATED" and "revoked" in text


def with_certificate(policyd, name, chain, key):
    return {"policyd": policyd, "name": name, "tcp": True, "chain": chain.read_bytes(), "key": key.read_bytes(), "addresses": ["10.0.0.5"]}


def revoke(policyd, *arguments):
    run("tabard-ca", "revoke", "--dir", policyd.folder / "ca", *arguments)


def test_the_crl_of_an_intermediate_ca_counts():
    policyd = Policyd(fleet(), start=False)
    try:
        (policyd.folder / "ca").rename(policyd.folder / "root")
        run("tabard-ca", "init", "--dir", policyd.folder / "ca", "--parent", policyd.folder / "root")
        shutil.copy(policyd.folder / "root/ca.pem", policyd.folder / "roots.pem")
        policyd.start()
        chain, key = policyd.issue("api")
        gone = with_certificate(policyd, "api", chain, key)
        with Sidecar(**gone) as api:
            api.take()
            revoke(policyd, "--cert", chain)
            with pytest.raises(Refused) as refused:
                while True:
                    api.take()
        assert refused.value.text == "the certificate is revoked"
        assert "revoked" in refusal(**gone)[1]
        # And the root's, of the intermediate itself.
        with Sidecar(**with_certificate(policyd, "api", *policyd.issue("api"))) as api:
            assert len(api.take().state.trust_bundles[0].crls) == 1
            run("tabard-ca", "revoke", "--dir", policyd.folder / "root", "--cert", policyd.folder / "ca/ca.pem", "--crl", policyd.folder / "crls.pem")
            with pytest.raises(Refused) as refused:
                while True:
                    api.take()
        assert refused.value.text == "the certificate is revoked"
        # What can't be read is told, and what was revoked before stays so.
        (policyd.folder / "ca/crl.pem").write_text("garbage")
        assert policyd.wait_line(msg="update refused")["error"].startswith("ca/crl.pem: ")
        assert "revoked" in refusal(**gone)[1]
    finally:
        policyd.close()


def test_a_root_rotation_takes_no_revocation_back(policyd):
    ca = policyd.folder / "ca"
    chain, key = policyd.issue("api")
    revoke(policyd, "--cert", chain)
    policyd.wait_line(msg="trust in force")
    old = (ca / "ca.pem").read_text()
    run("tabard-ca", "init", "--dir", policyd.folder / "new", "--trust-domain", DOMAIN)
    mark = policyd.mark()
    (policyd.folder / "roots.pem").write_text(old + (policyd.folder / "new/ca.pem").read_text())
    for name in ("ca.key", "ca.pem"):
        (policyd.folder / "new" / name).rename(ca / name)
    revoke(policyd, "--refresh")
    policyd.wait_line(mark, msg="trust in force", crls=2)
    assert "revoked" in refusal(**with_certificate(policyd, "api", chain, key))[1]
    with Sidecar(policyd) as caller:
        assert len(caller.take().state.trust_bundles[0].crls) == 2
    # An old list in the place of the newer ones is refused.
    kept, mark = (ca / "crl.pem").read_text(), policyd.mark()
    revoke(policyd, "--refresh")
    policyd.wait_line(mark, msg="trust in force")
    mark = policyd.mark()
    (ca / "crl.pem").write_text(kept)
    assert "older than the CRL" in policyd.wait_line(mark, msg="update refused")["error"]


def test_a_new_root_reaches_a_sidecar_whose_mesh_yaml_knows_only_the_old_one(policyd):
    """As a pod's, which says what it said when the pod was made."""
    ca, roots = policyd.folder / "ca", policyd.folder / "roots.pem"
    old = (ca / "ca.pem").read_text()
    run("tabard-ca", "init", "--dir", policyd.folder / "new", "--trust-domain", DOMAIN)
    new = (policyd.folder / "new/ca.pem").read_text()
    token = policyd.folder / "join.token"
    token.write_text(policyd.token("caller") + "\n")
    (policyd.folder / "old.pem").write_text(old)
    access = {"address": "127.0.0.1:%d" % policyd.tcp[1], "identity": f"spiffe://{DOMAIN}/tabard/policyd",
              "roots": str(policyd.folder / "old.pem"), "join_token": str(token), "spiffe_id": CALLER, "node_id": "caller",
              "state": str(policyd.folder / "caller.state")}
    policyd.arguments[policyd.arguments.index("--listen") + 1] = access["address"]  # again after each restart
    sidecar = Agent("caller", {"policy_agent": access, "settings": {"drain_seconds": 1}})

    def restart():
        """Another policyd, whose certificate the sidecar has to accept anew."""
        policyd.stop()
        mark = policyd.mark()
        policyd.start()
        line = policyd.wait_line(mark, seconds=40, msg="admitted", by="certificate")
        assert line["id"] == CALLER
        wait_until("the sidecar follows it", lambda: policyd.metrics()['results_total{result="ack"}'] >= 1)

    def trust(text):
        mark, heard = policyd.mark(), sidecar.mark()
        roots.write_text(text)
        policyd.wait_line(mark, msg="trust in force")
        sidecar.wait_line(heard, msg="policy agent's state in force", new_state="yes")

    try:
        # Both roots first; then a CA of the new one signs, also what policyd shows; then the old one leaves.
        trust(old + new)
        for name in ("ca.key", "ca.pem"):
            (policyd.folder / "new" / name).rename(ca / name)
        restart()
        # A sidecar that starts anew has it from its disk, and gets a certificate of the new CA.
        sidecar.stop()
        token.write_text(policyd.token("caller") + "\n")
        sidecar.start()
        assert policyd.lines(msg="admitted", by="join_token")[-1]["id"] == CALLER
        trust(new)
        restart()
        # Without it only mesh.yaml counts.
        sidecar.stop()
        shutil.rmtree(policyd.folder / "caller.state")
        heard = sidecar.mark()
        sidecar.start(wait=False)
        assert "the policy agent's certificate: " in sidecar.wait_line(heard, msg="no stream to the policy agent")["error"]
    finally:
        sidecar.close()


def test_a_crl_that_goes_stale_holds_up_no_change_of_the_fleet_and_no_start(policyd):
    ca, more = policyd.folder / "ca", policyd.folder / "crls.pem"
    number = policyd.folder / "number"
    number.write_text("07")
    (policyd.folder / "index").touch()
    (policyd.folder / "cnf").write_text(f"[ca]\ndefault_ca=x\n[x]\ndatabase={policyd.folder}/index\ncrlnumber={number}\ndefault_md=sha256\n")
    run("openssl", "ca", "-gencrl", "-config", policyd.folder / "cnf", "-cert", ca / "ca.pem", "-keyfile", ca / "ca.key", "-crlsec", "3", "-out", more)
    policyd.wait_line(msg="trust in force")
    until = run("openssl", "crl", "-in", more, "-noout", "-nextupdate").stdout.strip().removeprefix("nextUpdate=")
    wait_until("the list is stale", lambda: time.time() > ssl.cert_time_to_seconds(until) + 1)
    policyd.apply(fleet(allow("api-is-called", API, CALLER)))
    policyd.write("slip", "workloads: [{spiffe_id: 7}]\n")
    assert policyd.wait_line(msg="update refused")["what"] == "fleet"
    (policyd.folder / "fleet/slip.yaml").unlink()
    with Sidecar(policyd) as caller:
        assert caller.take().HasField("state")
    policyd.stop()
    mark = policyd.mark()
    policyd.start()
    assert "stale" in policyd.wait_line(mark, msg="the trust needs a look")["note"]
    with Sidecar(policyd) as caller:
        assert caller.take().HasField("state")
