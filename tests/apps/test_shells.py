# SPDX-License-Identifier: Apache-2.0
"""ssh and what runs over it, git by its own protocol and by ssh, FTP with its second connection."""
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from mesh import ROOT, wait_until
from world import missing

MIB = 1 << 20


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def big(world):
    path = world.folder / "big"
    path.write_bytes(os.urandom(30 * MIB))
    return path


@pytest.fixture(scope="module")
def ssh(world):
    reason = missing("ssh", "scp", "sftp", "sshd", "ssh-keygen")
    if reason:
        pytest.skip(reason)
    folder, host = world.folder / "ssh", world.network["server"].ipv4
    folder.mkdir()
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "id"):
        world.run("server", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    options = {"ListenAddress": host, "AuthorizedKeysFile": folder / "id.pub", "StrictModes": "no", "PermitRootLogin": "yes",
               "PidFile": "none", "UsePAM": "no", "Subsystem": "sftp internal-sftp"}
    world.start("server", "sshd", 22, "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", folder / "host", "-p", "22",
                *[f"-o{name}={value}" for name, value in options.items()])
    return ["-F", "none", "-i", str(folder / "id"), "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR",
            "-oBatchMode=yes"]


def test_ssh_copies_both_ways_and_passes_on_exit_codes(world, ssh, big):
    target, batch = f"root@{world.network['server'].ipv4}", world.folder / "batch"
    batch.write_text(f"put {big} {big}.put\nget {big}.put {big}.got\nrm {big}.put\n")

    def work():
        world.run("client", "scp", *ssh, big, f"{target}:{big}.up")
        world.run("client", "scp", *ssh, f"{target}:{big}.up", f"{big}.down")
        world.run("client", "sftp", *ssh, "-b", batch, target)
        assert {digest(f"{big}.{end}") for end in ("up", "down", "got")} == {digest(big)}
        codes = [world.run("client", "ssh", *ssh, target, command, check=False).returncode for command in ("exit 7", "true", "kill -9 $$")]
        echoed = world.run("client", "ssh", *ssh, target, "cat; echo over >&2", input="from here\n").stdout
        return codes, echoed
    assert world.same("ssh", work)[0][:2] == [7, 0]


def test_ssh_forwards_ports_over_many_rotations(world, ssh, big):
    target, host = f"root@{world.network['server'].ipv4}", world.network["client"]

    def work():
        # It ends with its input. Behind its port is the server's own sshd, which speaks first.
        forward = f"127.0.0.1:2022:{world.network['server'].ipv4}:22"
        with subprocess.Popen(host.command(["ssh", *ssh, "-L", forward, "-oExitOnForwardFailure=yes", target, "cat"]),
                              stdin=subprocess.PIPE) as tunnel:
            wait_until("the port is forwarded", lambda: host.run("ss", "-Hltn", "sport = :2022").stdout, 20)
            before = world.num_rotations
            wait_until("identities were rotated", lambda: world.num_rotations >= before + 4, 20)
            world.run("client", "scp", *ssh, "-P", "2022", big, f"root@127.0.0.1:{big}.tunnel")
            assert digest(f"{big}.tunnel") == digest(big)
            tunnel.stdin.close()
            assert tunnel.wait(timeout=20) == 0
    world.watch("ssh", work)


@pytest.fixture(scope="module")
def git(world):
    if missing("git"):
        pytest.skip(missing("git"))
    folder, host = world.folder / "git", world.network["server"].ipv4
    folder.mkdir()
    # This project's own history is the one that is surely at hand.
    world.run("server", "git", "-c", "safe.directory=*", "clone", "-q", "--bare", ROOT, folder / "it.git")
    world.start("server", "git", 9418, "git", "-c", "safe.directory=*", "daemon", f"--listen={host}", f"--base-path={folder}",
                "--export-all", "--reuseaddr")
    return folder


def test_git_clones_whole_histories(world, git):
    number = iter(range(10))

    def work():
        clone = world.folder / f"clone-{next(number)}"
        world.run("client", "git", "clone", "-q", f"git://{world.network['server'].ipv4}/it.git", clone)
        world.run("client", "git", "-C", clone, "fsck", "--no-dangling")
        return [world.run("client", "git", "-C", clone, *what).stdout for what in (("rev-parse", "HEAD"), ("rev-list", "--all", "--count"))]
    world.same("git", work)


def test_git_pushes_and_fetches_over_ssh(world, git, ssh):
    clone, url = world.folder / "by-ssh", f"ssh://root@{world.network['server'].ipv4}{git}/it.git"
    os.environ["GIT_SSH_COMMAND"] = " ".join(["ssh", *ssh])

    def work():
        world.run("client", "git", "clone", "-q", "--depth", "1", url, clone)
        world.run("client", "git", "-C", clone, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty",
                  "-m", "one more")
        world.run("client", "git", "-C", clone, "push", "-q", "origin", "HEAD:refs/heads/pushed")
        head = world.run("client", "git", "-C", clone, "rev-parse", "HEAD").stdout
        assert world.run("server", "git", "-c", "safe.directory=*", "-C", git / "it.git", "rev-parse", "pushed").stdout == head
        world.run("client", "git", "-C", clone, "fetch", "-q", "--unshallow", "origin")
    world.watch("git", work)


@pytest.fixture(scope="module")
def ftp(world):
    reason = missing("vsftpd", "lftp")
    if reason:
        pytest.skip(reason)
    root = world.folder / "ftp"
    (root / "up").mkdir(parents=True)
    (root / "up").chmod(0o777)
    (root / "big").write_bytes(os.urandom(30 * MIB))
    Path("/var/run/vsftpd/empty").mkdir(parents=True, exist_ok=True)
    config = world.folder / "vsftpd.conf"
    lines = ["listen=YES", f"listen_address={world.network['server'].ipv4}", "background=NO", "anonymous_enable=YES", f"anon_root={root}",
             "anon_upload_enable=YES", "write_enable=YES", "no_anon_password=YES", "connect_from_port_20=YES", "anon_umask=022",
             "secure_chroot_dir=/var/run/vsftpd/empty", "seccomp_sandbox=NO", ""]
    config.write_text("\n".join(lines))
    world.start("server", "vsftpd", 21, "vsftpd", config)
    return root


@pytest.mark.parametrize("mode", ["passive", "active"])
def test_ftp_loads_up_and_down(world, ftp, big, mode):
    """Active: the server calls the address that the client named, and wants it to be the one that called."""
    got = world.folder / "ftp-got"
    script = (f"set net:timeout 10; set net:max-retries 1; set ftp:passive-mode {'on' if mode == 'passive' else 'off'}; "
              f"get big -o {got}; put {big} -o up/{mode}; ls; bye")

    def work():
        for path in (got, ftp / "up" / mode):
            path.unlink(missing_ok=True)
        done = world.run("client", "lftp", "-e", script, world.network["server"].ipv4, check=False)
        assert done.returncode == 0, done.stdout
        assert digest(got) == digest(ftp / "big") and digest(ftp / "up" / mode) == digest(big)
    world.show_callers_as("CALLER" if mode == "active" else "SIDECAR")
    try:
        world.same("ftp", work)
    finally:
        world.show_callers_as("SIDECAR")
