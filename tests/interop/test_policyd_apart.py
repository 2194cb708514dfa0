# SPDX-License-Identifier: Apache-2.0
"""One bad file of policyd's folder holds up nothing else, and opens nothing: revocation, fleet and each policy are judged apart."""
import json
import os

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")

from policyd import API, CALLER, OTHER, Policyd, Refused, Sidecar, allow, csr, workload  # noqa: E402
from mesh import DOMAIN, run, wait_until  # noqa: E402

WORKLOADS = {"workloads": [workload("caller", unix_uids=[os.getuid()]), workload("api", "10.0.0.0/24", unix_uids=[os.getuid()]), workload("other")]}


def deny(name, *principals):
    return {**(made := allow(name, API, *principals)), "policy": {**made["policy"], "action": "DENY"}}


def bad(policy):
    """The same with a principal that is no SPIFFE id."""
    return {**policy, "policy": {**policy["policy"], "rules": [{"principals": ["nobody"]}]}}


@pytest.fixture
def policyd():
    made = Policyd(WORKLOADS, start=False)
    made.write("a", {"policies": [allow("old", API, CALLER)]})
    made.start()
    yield made
    made.close()


def policies(policyd):
    """The names of what api enforces now."""
    with Sidecar(policyd, "api", spiffe_id=API, addresses=["10.0.0.5"]) as api:
        return sorted(policy.name for policy in api.take().state.policies)


def refused(policyd, mark, what, *words):
    wait_until(f"a refusal says {words}", lambda: any(all(word in line["error"] for word in words)
                                                      for line in policyd.lines(mark, msg="update refused", what=what)))


def see(policyd, *names):
    wait_until(f"{names} are in force", lambda: policies(policyd) == sorted(names))


def write(path, what):
    """Puts what nobody can read at a path."""
    if path.is_file():
        path.unlink()
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "link to itself":
        path.symlink_to(path.name)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 34)
    else:
        path.write_text(what)


ODD = ["fifo", "folder", "link to itself", "device", "huge", "neither { YAML nor [PEM\n"]


@pytest.mark.parametrize("what", ODD)
def test_a_bad_piece_is_named_and_keeps_what_it_said_while_others_go_on(policyd, what):
    mark = policyd.mark()
    write(policyd.folder / "fleet" / "a.yaml", what)
    refused(policyd, mark, "fleet", "fleet/a.yaml")
    write(policyd.folder / "fleet" / "new.yaml", what)  # which never said anything
    policyd.write("b", {"policies": [deny("closed", OTHER)]})
    see(policyd, "old", "closed")
    policyd.write("b", {"policies": [deny("closed-anew", OTHER), allow("open", API, OTHER)]})
    see(policyd, "old", "closed", "closed-anew", "open")  # a DENY stays, since it may have moved to what can't be read
    for name in ("a.yaml", "new.yaml"):
        path = policyd.folder / "fleet" / name
        path.rmdir() if path.is_dir() else path.unlink()
    see(policyd, "closed-anew", "open")


def test_each_item_of_a_piece_is_judged_by_itself(policyd):
    mark = policyd.mark()
    policyd.write("a", {"workloads": [workload("late"), {"spiffe_id": "spiffe://elsewhere.example/x"}],
                        "policies": [bad(allow("old", API, CALLER)), deny("closed", OTHER), bad(allow("never", API, OTHER)), allow("more", API, OTHER)]})
    see(policyd, "old", "closed", "more")
    error = policyd.lines(mark, msg="update refused")[-1]["error"]
    assert error.count("fleet/a.yaml:") == 3 and all(where in error for where in ("workloads[1]", "policies[0]", "policies[2]")), error
    assert policyd.lines(mark, msg="fleet in force")[-1]["workloads"] == "4"


def test_what_is_refused_opens_nothing(policyd):
    both = {"policies": [allow("old", API, CALLER), deny("but-not", OTHER)]}
    policyd.apply(both, "a")
    # A DENY that was never good: no ALLOW beside it changes, but one in another file does.
    policyd.write("b", {"policies": [allow("everybody", API, f"spiffe://{DOMAIN}"), bad(deny("but-not-the-caller", CALLER)), deny("nor", OTHER)]})
    policyd.write("c", {"policies": [allow("another", API, OTHER)]})
    see(policyd, "old", "but-not", "nor", "another")
    # One that was changed into a bad one stays, and so does one that moves to where it can't be read.
    policyd.write("a", {"policies": [allow("old", API, CALLER), bad(deny("but-not", OTHER))]})
    (policyd.folder / "fleet/b.yaml").unlink()
    policyd.wait_line(msg="update refused", what="fleet")
    policyd.write("b", json.dumps({"policies": [deny("but-not", OTHER)]})[:-1])
    policyd.write("a", {"policies": [allow("old", API, CALLER)]})
    policyd.write("c", {"policies": []})
    see(policyd, "old", "but-not", "nor")
    policyd.write("b", {"policies": [deny("but-not", OTHER)]})
    see(policyd, "old", "but-not")
    # Of two that claim one name the older one counts.
    policyd.write("0", {"policies": [allow("old", API, f"spiffe://{DOMAIN}"), deny("nor", OTHER)]})
    see(policyd, "old", "but-not", "nor")
    with Sidecar(policyd, "api", spiffe_id=API, addresses=["10.0.0.5"]) as api:
        old = next(policy for policy in api.take().state.policies if policy.name == "old")
    assert list(old.rules[0].principals) == [CALLER]


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("name", ["crls.pem", "roots.pem", "ca/ca.pem"])
def test_a_bad_file_of_the_ca_holds_up_no_revocation_and_no_policy(policyd, name, what):
    chain, key = policyd.issue("api")
    shown = {"policyd": policyd, "name": "api", "tcp": True, "chain": chain.read_bytes(), "key": key.read_bytes(), "addresses": ["10.0.0.5"]}
    run("tabard-ca", "revoke", "--refresh", "--dir", policyd.folder / "ca")
    policyd.wait_line(msg="trust in force", crls="1")
    mark, ca = policyd.mark(), policyd.folder / "spare"
    run("cp", "-r", policyd.folder / "ca", ca)
    with Sidecar(**shown) as api:
        api.take()
        write(policyd.folder / name, what)
        refused(policyd, mark, "trust", name)
        policyd.write("b", {"policies": [deny("closed", OTHER)]})
        policyd.wait_line(mark, msg="fleet in force", policies="2")
        run("tabard-ca", "revoke", "--dir", ca, "--cert", chain)
        (ca / "crl.pem").rename(policyd.folder / "ca/crl.pem")
        with pytest.raises(Refused) as ended:
            while True:
                api.take()
    assert ended.value.text == "the certificate is revoked"


@pytest.mark.parametrize("what", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path)], ids=["fifo", "folder", "device"])
def test_a_record_that_is_no_file_hands_out_no_certificate_and_hangs_nothing(policyd, what):
    record = policyd.folder / "ca/issued"
    record.unlink()
    what(record)
    with Sidecar(policyd, "api", spiffe_id=API, addresses=["10.0.0.5"], request=csr()[0]) as api:
        got = api.take()
        while not got.certificate_error:
            assert not got.HasField("certificate")
            got = api.take()
    wait_until("policyd's own log says why", lambda: "ca/issued: can't be written" in policyd.log())
    record.rmdir() if record.is_dir() and not record.is_symlink() else record.unlink()
    with Sidecar(policyd, "api", spiffe_id=API, addresses=["10.0.0.5"], request=csr()[0]) as api:
        assert api.take().HasField("certificate")
    assert policyd.stop(seconds=5) == 0


def test_a_bad_list_holds_up_none_beside_it_in_its_file_and_lets_no_root_in(policyd):
    chain, _ = policyd.issue("api")
    for name in ("one", "two"):
        run("tabard-ca", "init", "--dir", policyd.folder / name, "--trust-domain", DOMAIN)
    mark = policyd.mark()
    run("tabard-ca", "revoke", "--dir", policyd.folder / "ca", "--cert", chain, "--crl", policyd.folder / "new.pem")
    new, broken = (policyd.folder / "new.pem").read_text(), "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n"
    (policyd.folder / "roots.pem").write_text((policyd.folder / "one/ca.pem").read_text())
    policyd.wait_line(mark, msg="trust in force")
    mark = policyd.mark()
    (policyd.folder / "lists").write_text(broken + new)
    (policyd.folder / "lists").rename(policyd.folder / "crls.pem")
    refused(policyd, mark, "trust", "crls.pem:1: ")
    policyd.wait_line(mark, msg="trust in force")
    with Sidecar(policyd, spiffe_id=CALLER) as caller:
        bundle = caller.take().state.trust_bundles[0]
    assert (len(bundle.crls), len(bundle.roots)) == (1, 2)
    # A root comes in with no list unread; one that leaves, leaves.
    mark = policyd.mark()
    (policyd.folder / "roots.pem").write_text((policyd.folder / "two/ca.pem").read_text())
    refused(policyd, mark, "trust", "roots.pem: ", "waits until every list")
    (policyd.folder / "roots.pem").write_text((policyd.folder / "ca/ca.pem").read_text())
    policyd.wait_line(mark, msg="trust in force")
    with Sidecar(policyd, spiffe_id=CALLER) as caller:
        bundle = caller.take().state.trust_bundles[0]
    assert (len(bundle.crls), len(bundle.roots)) == (1, 1)


def test_pieces_may_end_in_yml_and_what_is_no_piece_is_named(policyd):
    mark, folder = policyd.mark(), policyd.folder / "fleet"
    (folder / "b.yml").write_text(json.dumps({"policies": [deny("closed", OTHER)]}))
    see(policyd, "old", "closed")
    (folder / "shop").mkdir()
    (folder / "c.json").write_text("{}")
    (folder / ".hidden").write_text("x")
    wait_until("they are named", lambda: any("fleet/shop (a folder)" in line["files"] and "fleet/c.json" in line["files"] and "hidden" not in line["files"]
                                             for line in policyd.lines(mark, msg="not read: only fleet/*.yaml and fleet/*.yml are pieces of the fleet")))


def restart(policyd):
    """Ends policyd, and starts it on the folder as it is now."""
    policyd.stop()
    mark = policyd.mark()
    policyd.start()
    return mark


@pytest.mark.parametrize("what", ODD)
def test_a_start_with_a_bad_piece_goes_on_from_what_was_in_force(policyd, what):
    policyd.write("b", {"policies": [deny("shut", OTHER)]})
    see(policyd, "old", "shut")
    wait_until("it is kept for the next start", lambda: b"shut" in (policyd.folder / "in-force").read_bytes())
    write(policyd.folder / "fleet" / "b.yaml", what)
    mark = restart(policyd)
    assert "fleet/b.yaml" in policyd.wait_line(mark, msg="started on what was in force last")["error"]
    refused(policyd, mark, "fleet", "fleet/b.yaml")
    see(policyd, "old", "shut")
    policyd.write("a", {"policies": [allow("new", API, CALLER)]})
    see(policyd, "new", "shut")
    (policyd.folder / "fleet" / "b.yaml").rmdir() if what == "folder" else (policyd.folder / "fleet" / "b.yaml").unlink()
    policyd.write("b", {"policies": [deny("shut-otherwise", OTHER)]})
    see(policyd, "new", "shut-otherwise")
    mark = restart(policyd)
    assert not policyd.lines(mark, msg="started on what was in force last")
    see(policyd, "new", "shut-otherwise")


def test_what_is_good_counts_at_a_start_beside_what_is_bad(policyd):
    """A DENY and a revocation that came while policyd was not there."""
    chain, _ = policyd.issue("caller")
    policyd.write("b", {"policies": [allow("more", API, OTHER)]})
    see(policyd, "more", "old")
    wait_until("it is kept for the next start", lambda: b"more" in (policyd.folder / "in-force").read_bytes())
    policyd.stop()
    policyd.write("a", {"policies": [allow("old", API, CALLER), deny("shut", OTHER)]})
    policyd.write("b", "neither { YAML nor [this\n")
    run("tabard-ca", "revoke", "--dir", policyd.folder / "ca", "--cert", chain)
    mark = policyd.mark()
    policyd.start()
    see(policyd, "more", "old", "shut")
    with Sidecar(policyd, "api", spiffe_id=API, addresses=["10.0.0.5"]) as api:
        assert api.take().state.trust_bundles[0].crls, "the list that came meanwhile"


@pytest.mark.parametrize("record", [None, b"", b"neither a record", b"\x0a\x01x"])
def test_without_a_record_that_is_good_a_start_with_a_bad_piece_is_refused(policyd, record):
    policyd.stop()
    policyd.write("a", "neither { YAML nor [this\n")
    (policyd.folder / "in-force").unlink(missing_ok=True)
    if record is not None:
        (policyd.folder / "in-force").write_bytes(record)
    mark = policyd.mark()
    with pytest.raises(AssertionError):
        policyd.start()
    assert policyd.process.wait(timeout=10) == 1
    assert "fleet/a.yaml" in policyd.lines(mark, msg="not started")[-1]["error"]
    (policyd.folder / "fleet" / "a.yaml").unlink()
    policyd.start()
