# SPDX-License-Identifier: Apache-2.0
"""Files that are still being written: what an editor, a copy or a script has left half is never in force."""
import json
import mmap
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from foreign import attempt
from mesh import API, DOMAIN, STRANGER, WEB, Agent, wait_until
from pair import allow, server_config, serving

PAUSES = [0.01, 0.3]
HELD_S = 10  # WATCH_HELD_MS
STILL_S = 6  # FILES_STILL_MS


def compose(config, number):
    """mesh.yaml as text of lines. Its first lines are a mesh.yaml of their own, of which only the DENY is missing."""
    config = config | {"settings": {"drain_seconds": number}}
    lines = [f"{name}: {json.dumps(value)}" for name, value in config.items() if name != "policies"]
    everybody, but_not = allow("everybody", f"spiffe://{DOMAIN}"), allow(f"but-not-{number}", STRANGER)
    return ["\n".join([*lines, "policies:", f"  - {json.dumps(everybody)}", ""]),
            f"  - {json.dumps(but_not | {'action': 'DENY'})}\n"]


def piped(command):
    """A writer that is a program: it gets the first part at its standard input, and after a pause the rest."""
    def write(path, parts, pause):
        with subprocess.Popen([word.format(path=path, folder=path.parent) for word in command], stdin=subprocess.PIPE) as program:
            program.stdin.write(parts[0].encode())
            program.stdin.flush()
            time.sleep(pause)
            program.stdin.write(parts[1].encode())
            program.stdin.close()
            assert program.wait() == 0
    return write


def finished(command, pad=0):
    """A writer that is a program and reads a file of its own, `pad` bytes of comment longer."""
    def write(path, parts, pause):
        source = path.parent / "source.txt"
        source.write_text("".join(parts) + "# x\n" * (pad // 4))
        done = subprocess.run([word.format(path=path, folder=path.parent, source=source, ms=int(pause * 1000)) for word in command],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
    return write


def opened(mode, prepare=None):
    """A writer that opens the file once, in a way of Python's, and writes it in two parts."""
    def write(path, parts, pause):
        target = prepare(path) if prepare else path
        with open(target, mode) as file:
            time.sleep(pause / 2)
            file.write(parts[0])
            file.flush()
            time.sleep(pause)
            file.write(parts[1])
            file.truncate()
    return write


def mapped(path, parts, pause):
    text = "".join(parts).encode()
    with open(path, "r+b") as file:
        file.truncate(len(text))
        view = mmap.mmap(file.fileno(), len(text))
    with view:  # the descriptor is closed, the mapping is not
        view[:] = parts[0].encode().ljust(len(text), b"#")
        view.flush()
        time.sleep(pause)
        view[:] = text


def hard_link(path):
    other = path.parent / "elsewhere"
    other.unlink(missing_ok=True)
    os.link(path, other)
    return other


def scp(path, parts, pause):
    """scp's own receiving end, through a program in ssh's place; -l bounds its rate."""
    ssh = path.parent / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    finished(["scp", "-q", "-O", "-l", "600", "-S", "{folder}/ssh", "{source}", "host:{path}"], pad=100_000 if pause > 0.1 else 0)(
        path, parts, pause)


VI = ["vim", "-es", "-u", "NONE", "-c", "set backup {how} backupdir=. directory=.", "-c", "%d", "-c", "0r {source}", "-c", "wq!", "{path}"]
WRITERS = {
    "cp": piped(["cp", "/dev/stdin", "{path}"]),
    "a shell's redirection": piped(["sh", "-c", "cat > {path}"]),
    "dd over the old": piped(["dd", "of={path}", "conv=notrunc", "bs=64k", "status=none"]),
    "tee": piped(["sh", "-c", "tee {path} > /dev/null"]),
    "a bind mount": piped(["unshare", "-m", "sh", "-c", "mount --bind {folder} /mnt && cat > /mnt/mesh.yaml"]),
    "scp": scp,
    "rsync --inplace": finished(["rsync", "--ignore-times", "--inplace", "--no-whole-file", "--bwlimit=50", "{source}", "{path}"], pad=100_000),
    "rsync": finished(["rsync", "--ignore-times", "{source}", "{path}"]),
    "vim that renames": finished([word.replace("{how}", "backupcopy=no") for word in VI]),
    "vim in place": finished([word.replace("{how}", "backupcopy=yes") for word in VI]),
    "ed": finished(["sh", "-c", "printf '%%d\\n0r {source}\\nw\\nq\\n' | ed -s {path}"]),
    "sed -i": finished(["sed", "-i", "-n", "-e", "1r {source}", "{path}"]),
    "truncate and write": opened("w"),
    "write over and truncate": opened("r+"),
    "another hard link": opened("w", hard_link),
    "a mapping": mapped,
    "mv": finished(["mv", "{source}", "{path}"]),
    "rm and cp": finished(["sh", "-c", "rm {path}; sleep 0.1; cp {source} {path}"]),
}
NEEDS = {"rsync --inplace": "rsync", "rsync": "rsync", "vim that renames": "vim", "vim in place": "vim", "ed": "ed", "scp": "scp"}


@pytest.fixture(scope="module")
def server(authority):
    with serving(authority) as agent:
        roots = agent.folder / "roots.pem"
        shutil.copy(authority.roots, roots)
        agent.config["trust_bundles"][0]["roots"] = str(roots)
        agent.peers = {who: authority.issue(who, who_id) for who, who_id in (("api", API), ("stranger", STRANGER))}
        agent.number = 100
        write_once(agent, authority, WRITERS["mv"], 0)
        yield agent


def is_whole(agent, authority):
    """Asserts that the configuration of the last number is in force to its last line."""
    mark, address = agent.mark(), agent.address("127.0.0.1:0")
    assert attempt(address, authority, agent.peers["api"]) == b"hello"
    assert attempt(address, authority, agent.peers["stranger"]) != b"hello"
    agent.wait_conn(mark, rule=f"but-not-{agent.number}#0", reason="policy_denied")


def write_once(agent, authority, write, pause, *, refusals=0, seconds=10):
    """Lets a writer write the next configuration. It must come into force once, and whole; returns how long that took."""
    agent.number += 1
    mark = agent.mark()
    write(agent.folder / "mesh.yaml", compose(agent.config, agent.number), pause)
    done = time.monotonic()
    wait_until("something is in force", lambda: agent.lines(mark, msg="snapshot in force"), seconds)
    took = time.monotonic() - done
    is_whole(agent, authority)
    assert len(agent.lines(mark, msg="snapshot in force")) == 1, agent.log(mark)
    assert len(agent.lines(mark, msg="update refused")) == refusals, agent.log(mark)
    return took


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("how", WRITERS)
def test_nothing_is_in_force_before_its_writer_is_done(server, authority, how, pause):
    if how in NEEDS and not shutil.which(NEEDS[how]):
        pytest.skip(f"{NEEDS[how]} is not installed")
    write_once(server, authority, WRITERS[how], pause)


def test_a_writer_that_left_the_file_empty_must_stand_still(server, authority):
    """Opened and closed for each piece: the kernel can't tell that it isn't done, but an empty mesh.yaml does."""
    def in_pieces(path, parts, pause):
        path.write_text("")
        server.wait_line(server.mark_empty, msg="update refused")
        for part in parts:
            with open(path, "a") as file:
                file.write(part)
            time.sleep(pause)
    server.mark_empty = server.mark()
    took = write_once(server, authority, in_pieces, 2, refusals=1)
    assert STILL_S - 2.5 < took < STILL_S
    assert "is empty" in server.lines(server.mark_empty, msg="update refused")[0]["error"]


def test_other_files_come_into_force_while_one_is_being_written_and_a_writer_that_stays_is_told(server, authority):
    """Half of mesh.yaml is not in force, also where a certificate and its key are replaced meanwhile. Then its writer dies."""
    mark, generation = server.mark(), server.status()["generation"]
    server.number += 1
    first, _ = compose(server.config, server.number)
    with subprocess.Popen(["sh", "-c", f"exec cat > {server.folder}/mesh.yaml"], stdin=subprocess.PIPE) as writer:
        writer.stdin.write(first.encode() + b"  - {")
        writer.stdin.flush()
        wait_until("the file is held", lambda: server.metric("tabard_files_held") == 1)
        fresh = authority.issue("fresh", API)
        shutil.copy(fresh.chain, server.config["identity"]["certificate"])
        shutil.copy(fresh.key, server.config["identity"]["key"])
        line = server.wait_line(mark, msg="snapshot in force")
        assert int(line["generation"]) == generation + 1
        line = server.wait_line(mark, seconds=HELD_S + 5, msg="file not read anew: what it held before counts")
        assert line["file"] == str(server.folder / "mesh.yaml") and "open for writing" in line["because"]
        assert len(server.lines(mark, msg="snapshot in force")) == 1 and not server.lines(mark, msg="update refused")
        server.number -= 1
        is_whole(server, authority)
        server.number += 1
        writer.kill()
    assert "mesh.yaml" in server.wait_line(mark, msg="update refused")["error"]
    assert server.metric("tabard_files_held") == 0
    write_once(server, authority, WRITERS["mv"], 0)


@pytest.mark.parametrize("what", ["certificate", "key", "roots"])
def test_a_file_that_became_empty_is_refused_by_name(server, authority, what):
    path = Path(server.config["trust_bundles"][0]["roots"] if what == "roots" else server.config["identity"][what])
    text, mark = path.read_text(), server.mark()
    path.write_text("")
    assert f"{path}: is empty" in server.wait_line(mark, msg="update refused")["error"]
    new = path.with_suffix(".new")
    new.write_text(text)
    is_whole(server, authority)
    new.rename(path)
    wait_until("another file in its place is good at once", lambda: not server.status().get("last_error"), STILL_S / 2)


def test_a_start_waits_for_the_writer(authority, keep, service):
    agent = keep(Agent("payments", server_config(authority, service.address), start=False))
    whole = (agent.folder / "mesh.yaml").read_text()
    with open(agent.folder / "mesh.yaml", "w") as file:
        file.write(whole[:-20])
        file.flush()
        agent.start(wait=False)
        agent.wait_line(msg="listening", what="health")
        wait_until("the file is held", lambda: agent.metric("tabard_files_held") == 1)
        file.write(whole[-20:])
    agent.wait_in_force(0)
    assert not agent.lines(msg="update refused")


def test_without_the_right_to_ask_of_writers_a_file_must_stand_still(authority, keep, service):
    """Another user's file, and no CAP_LEASE: what was changed a moment ago is not in force."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a file of another user is written")
    agent = keep(Agent("payments", server_config(authority, service.address), start=False,
                       prefix=["setpriv", "--bounding-set", "-lease"]))
    agent.peers = {who: authority.issue(who, who_id) for who, who_id in (("api", API), ("stranger", STRANGER))}
    agent.number = 100
    os.chown(agent.folder / "mesh.yaml", 65534, 65534)
    agent.start()
    took = write_once(agent, authority, WRITERS["truncate and write"], 2.5)
    assert STILL_S - 1 < took < STILL_S + 2


def test_files_that_begin_with_a_byte_order_mark_are_read_like_others(keep, authority, service):
    """As editors of Windows write them: mesh.yaml, roots, CRLs, certificate and key, whose first block must not be lost."""
    config = server_config(authority, service.address)
    server = keep(Agent("payments", config, start=False))
    for name, path in (("roots.pem", authority.roots), ("api.pem", config["identity"]["certificate"]), ("api.key", config["identity"]["key"])):
        (server.folder / name).write_bytes(b"\xef\xbb\xbf" + Path(path).read_bytes())
    config["identity"] = {"certificate": "api.pem", "key": "api.key"}
    config["trust_bundles"][0]["roots"] = "roots.pem"
    server.write_config("\ufeff" + json.dumps(config))
    server.start()
    assert attempt(server.address("127.0.0.1:0"), authority, authority.issue("web", WEB)) == b"hello"
    (server.folder / "mesh.yaml").write_bytes(json.dumps(config).encode("utf-16"))
    assert "UTF-16" in server.wait_line(msg="update refused")["error"]
