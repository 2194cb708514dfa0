# SPDX-License-Identifier: Apache-2.0
"""The files of tabard-policyd's folder while they are being written, and what is no file at all."""
import os
import socket
import threading
import time

import pytest

from policyd_process import Policyd, run, spiffe, wait_until, workload

CALLER, API = map(spiffe, ("caller", "api"))
DENY = '  - {targets: ["%s"], policy: {name: deny-%%d, action: DENY, mode: ENFORCE, rules: [{principals: ["%s"]}]}}\n' % (API, CALLER)


def parts(number):
    """A piece as two texts. The first is a piece of its own, of which only the DENY is missing."""
    return (f"workloads: [{{spiffe_id: '{CALLER}', by_join_token: true}}, {{spiffe_id: '{API}', by_join_token: true}}]\n"
            f"policies:\n  - {{targets: ['{API}'], policy: {{name: allow-{number}, action: ALLOW, mode: ENFORCE, "
            f"rules: [{{principals: ['{CALLER}']}}]}}}}\n", DENY % number)


@pytest.fixture
def policyd():
    made = Policyd("".join(parts(0)), listen=None)
    yield made
    made.close()


def fleets(policyd, mark):
    return [(int(line["workloads"]), int(line["policies"])) for line in policyd.lines(mark, msg="fleet in force")]


def test_a_piece_is_in_force_when_its_writer_is_done_and_other_news_does_not_wait_for_it(policyd):
    mark = policyd.mark()
    first, rest = parts(1)
    with open(policyd.folder / "fleet" / "fleet.yaml", "w") as old, open(policyd.folder / "fleet" / "new.yaml", "w") as new:
        for file in (old, new):
            file.write(first)
            file.flush()
        wait_until("both are held", lambda: policyd.metrics()["files_held"] == 2)
        run("tabard-ca", "revoke", "--refresh", "--dir", policyd.folder / "ca")
        policyd.wait_line(mark, msg="trust in force", crls="1")
        policyd.write("other", {"workloads": [workload("other")]})
        wait_until("the other piece is in force", lambda: fleets(policyd, mark) == [(3, 2)])
        new.write("# not for long\n")
        old.write(rest)
    wait_until("the whole is told", lambda: policyd.metrics()["files_held"] == 0)
    wait_until("what new.yaml names again is refused",
               lambda: any("workload" in line["error"] for line in policyd.lines(mark, msg="update refused", what="fleet")))
    (policyd.folder / "fleet" / "new.yaml").unlink()
    wait_until("the whole is in force", lambda: len(fleets(policyd, mark)) > 1 and fleets(policyd, mark)[-1] == (3, 2))
    # The new ALLOW never without its DENY. The old DENY stays while something is refused that was never good.
    assert {found[1] for found in fleets(policyd, mark)} <= {2, 3}


def test_a_removed_piece_counts_soon_and_one_that_comes_back_at_once_was_never_away(policyd):
    policyd.apply({"workloads": [workload("other")]}, "other")
    mark, path = policyd.mark(), policyd.folder / "fleet" / "other.yaml"
    text = path.read_text()
    for is_missed in (False, True):
        path.unlink()
        if is_missed:
            wait_until("it is missed", lambda: policyd.metrics()["files_held"] == 1)
        path.write_text(text)
        wait_until("it was read", lambda: policyd.metrics()["files_held"] == 0)
    assert fleets(policyd, mark) == [], policyd.log(mark)
    path.unlink()
    wait_until("it is gone", lambda: fleets(policyd, mark), 5)  # and not only once the folder was quiet for 6 s
    assert fleets(policyd, mark) == [(2, 2)]


@pytest.mark.parametrize("name", ["fleet/fleet.yaml", "crls.pem", "roots.pem", "ca/ca.pem"])
def test_a_file_that_became_empty_is_refused_by_name_and_what_was_stays(policyd, name):
    run("tabard-ca", "revoke", "--refresh", "--dir", policyd.folder / "ca")
    for made, source in (("crls.pem", "ca/crl.pem"), ("roots.pem", "ca/ca.pem")):
        (policyd.folder / made).write_bytes((policyd.folder / source).read_bytes())
    wait_until("all is in force", lambda: [line["crls"] for line in policyd.lines(msg="trust in force")][-1:] not in ([], ["0"]))
    time.sleep(0.3)  # the last of the readings, which is of files that just changed
    mark, text = policyd.mark(), (policyd.folder / name).read_text()
    (policyd.folder / name).write_text("")
    line = policyd.wait_line(mark, msg="update refused")
    assert f"{name}: is empty" in line["error"] and line["what"] == ("fleet" if "fleet" in name else "trust")
    assert not policyd.lines(mark, msg="trust in force") and not policyd.lines(mark, msg="fleet in force")
    new = policyd.folder / "new"
    new.write_text(text)
    new.rename(policyd.folder / name)
    policyd.apply({"workloads": [workload("other")]}, "other")


def fifo(path):
    os.mkfifo(path)


def bound(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.parametrize("make, words", [
    (fifo, "is a FIFO"), (os.mkdir, "is a directory"), (bound, "is a socket"), (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    (lambda path: path.symlink_to("nowhere"), "No such file"), (lambda path: path.symlink_to(path.name), "symbolic links"),
], ids=["fifo", "folder", "socket", "device", "link to nothing", "link to itself"])
def test_what_is_no_file_is_named_and_holds_up_no_revocation(policyd, make, words):
    mark, path = policyd.mark(), policyd.folder / "fleet" / "odd.yaml"
    make(path)
    line = policyd.wait_line(mark, msg="update refused")
    assert "fleet/odd.yaml" in line["error"] and words in line["error"] and line["what"] == "fleet"
    run("tabard-ca", "revoke", "--refresh", "--dir", policyd.folder / "ca")
    policyd.wait_line(mark, msg="trust in force", crls="1")
    path.rmdir() if path.is_dir() else path.unlink()
    policyd.apply({"workloads": [workload("other")]}, "other")
    assert policyd.stop(seconds=5) == 0


def test_a_start_waits_for_the_writer():
    policyd = Policyd("".join(parts(0)), listen=None, start=False)
    try:
        first, rest = parts(1)
        with open(policyd.folder / "fleet" / "fleet.yaml", "w") as file:
            file.write(first)
            file.flush()

            def go_on():
                wait_until("it says that it waits", lambda: policyd.lines(msg="waiting for files that are being written"))
                file.write(rest)
                file.close()
            thread = threading.Thread(target=go_on)
            thread.start()
            policyd.start()
            thread.join()
        assert policyd.wait_line(msg="started")["policies"] == "2"
        assert policyd.wait_line(msg="fleet in force")["policies"] == "2"
    finally:
        policyd.close()
