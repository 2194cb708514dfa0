# SPDX-License-Identifier: Apache-2.0
"""Real applications that judge a caller by its address, behind two sidecars. Root only; each needs its Debian package."""
import contextlib
import ftplib
import io
import os
import pwd
import shutil
import subprocess
import tempfile
from glob import glob
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesh import API, WEB, Agent, connect, wait_until
from pair import bundles, identity
from test_addresses import CALLER, intercepted
from test_interception import FAMILIES, address

def need(package, pattern):
    """The newest program of this path, or a skip that names the package."""
    found = sorted(glob(pattern))
    if not found:
        pytest.skip(f"{package} is missing (apt-get install {package})")
    return found[-1]


@contextlib.contextmanager
def two_hosts(authority, network, is_caller=False):
    """shop calls payments through both sidecars, and may be called back."""
    flags = ["--caller-addresses"] if is_caller else []
    with contextlib.ExitStack() as stack:
        for name, own, other in (("shop", WEB, API), ("payments", API, WEB)):
            mesh = {"identity": identity(authority.issue(name, own)), "trust_bundles": bundles(authority),
                    "policies": [{"name": "other", "action": "ALLOW", "mode": "ENFORCE", "rules": [{"principals": [other]}]}],
                    "destinations": [{"name": "other", "addresses": ["10.77.0.0/16", "fd77::/64"], "mode": "MTLS", "identities": [other]}],
                    "settings": {"interception": {}, "drain_seconds": 1, **(CALLER if is_caller else {})}}
            stack.enter_context(contextlib.closing(Agent(name, mesh, netns=network[name], arguments=flags)))
            stack.enter_context(intercepted(network[name], *flags))
        yield network["shop"], network["payments"]


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(prefix="tabard-app-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running(host, folder, port, *command):
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(host.command(["setpriv", "--pdeathsig", "KILL", *map(str, command)]), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, cwd=folder)

    def answers():
        assert process.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError), connect((host.ipv4, port), host, seconds=1):
            return True
    try:
        wait_until(f"{command[0]} listens", answers, 30)
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


def as_user(name, folder):
    """The words that run a command as a user, and a folder of its own."""
    user = pwd.getpwnam(name)
    own = folder / name
    own.mkdir(exist_ok=True)
    os.chown(own, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"], own


@pytest.fixture
def postgres(network, folder):
    """PostgreSQL on every address of payments; `log_in(from, host)` is what its client says there."""
    programs = Path(need("postgresql", "/usr/lib/postgresql/*/bin/postgres")).parent
    psql = need("postgresql-client", "/usr/bin/psql")
    become, own = as_user("postgres", folder)
    data = own / "data"
    subprocess.run([*become, programs / "initdb", "-D", data, "-A", "trust", "-N"], check=True, capture_output=True, cwd=own)
    host = network["payments"]

    def log_in(source, to):
        done = source.run(psql, "-h", to, "-U", "postgres", "-d", "postgres", "-Atc", "select host(inet_client_addr())", check=False)
        return done.stdout.strip() or done.stderr.strip()

    def trust(*lines):
        (data / "pg_hba.conf").write_text("".join(f"host all all {line}\n" for line in (*lines, "0.0.0.0/0 reject", "::/0 reject")))
        server.send_signal(1)
    with running(host, folder, 5432, *become, programs / "postgres", "-D", data, "-c", "listen_addresses=*", "-c", f"unix_socket_directories={own}",
                 "-c", "fsync=off", "-c", "max_connections=20") as server:
        yield SimpleNamespace(log_in=log_in, trust=trust, host=host)


@pytest.mark.parametrize("family", FAMILIES)
def test_postgresql_s_samehost_lets_in_this_host_and_not_the_mesh(authority, network, postgres, family):
    own = address(postgres.host, family)
    seen = {"ipv4": "127.0.0.6", "ipv6": "::6"}[family]
    with two_hosts(authority, network) as (shop, payments):
        postgres.trust("all trust")
        wait_until("the caller is let in", lambda: postgres.log_in(shop, own) == seen)
        postgres.trust("samehost trust")
        wait_until("the mesh is kept out", lambda: f'pg_hba.conf rejects connection for host "{seen}"' in postgres.log_in(shop, own))
        assert postgres.log_in(payments, own) == own


@pytest.mark.parametrize("family", FAMILIES)
def test_postgresql_judges_callers_by_their_own_addresses(authority, network, postgres, family):
    own = address(postgres.host, family)
    seen = address(network["shop"], family)
    with two_hosts(authority, network, is_caller=True) as (shop, payments):
        postgres.trust(f"{seen}/{32 if family == 'ipv4' else 128} trust")
        wait_until("the caller is let in by its address", lambda: postgres.log_in(shop, own) == seen)
        postgres.trust("samehost trust")
        wait_until("the mesh is kept out", lambda: f'pg_hba.conf rejects connection for host "{seen}"' in postgres.log_in(shop, own))
        assert postgres.log_in(payments, own) == own


def test_mariadb_s_accounts_of_this_host_are_not_the_mesh_s(authority, network, folder):
    server = need("mariadb-server", "/usr/sbin/mariadbd")
    client = need("mariadb-client", "/usr/bin/mariadb")
    become, own = as_user("mysql", folder)
    host = network["payments"]
    (own / "init.sql").write_text("FLUSH PRIVILEGES;\n" + "".join(
        f"CREATE USER 'me'@'{where}';\n" for where in (host.ipv4, host.ipv6, "localhost", "127.0.0.1", "::1")))
    subprocess.run([*become, "mariadb-install-db", f"--datadir={own}/data", "--auth-root-authentication-method=normal", "--skip-test-db"],
                   check=True, capture_output=True, cwd=own)
    with two_hosts(authority, network) as (shop, payments), \
            running(host, folder, 3306, *become, server, "--no-defaults", f"--datadir={own}/data", f"--socket={own}/sock", "--bind-address=*",
                    f"--init-file={own}/init.sql", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"):
        def log_in(source, to):
            done = source.run(client, "--no-defaults", "-h", to, "-P", "3306", "-u", "me", "-BNe", "select current_user()", check=False)
            return done.stdout.strip() or done.stderr.strip()
        for family in FAMILIES:
            to = address(host, family)
            assert log_in(payments, to) == f"me@{to}"
            assert "Host '" in log_in(shop, to) and "is not allowed to connect" in log_in(shop, to)


@pytest.mark.parametrize("is_caller", [True, False])
def test_active_ftp_takes_the_caller_s_own_address(authority, network, folder, is_caller):
    """vsftpd connects to nobody but the address that it sees as its caller."""
    server = need("vsftpd", "/usr/sbin/vsftpd")
    host = network["payments"]
    for name in ("files", "empty"):
        (folder / name).mkdir()
    (folder / "files" / "note").write_text("hello")
    options = {"listen": "YES", "background": "NO", "anonymous_enable": "YES", "anon_root": folder / "files", "no_anon_password": "YES",
               "secure_chroot_dir": folder / "empty", "seccomp_sandbox": "NO", "connect_from_port_20": "YES"}
    (folder / "conf").write_text("".join(f"{key}={value}\n" for key, value in options.items()))
    with two_hosts(authority, network, is_caller) as (shop, _), running(host, folder, 21, server, folder / "conf"), shop.entered():
        with ftplib.FTP(timeout=15) as ftp:
            ftp.connect(host.ipv4)
            ftp.login()
            ftp.set_pasv(False)
            if not is_caller:
                with pytest.raises(ftplib.error_perm, match="500 Illegal PORT command"):
                    ftp.nlst()
                return
            assert ftp.nlst() == ["note"]
            got = io.BytesIO()
            ftp.retrbinary("RETR note", got.write)
            assert got.getvalue() == b"hello"
