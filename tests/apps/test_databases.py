# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL and MariaDB: transactions, bulk, cancellation, dump and restore, and whom they trust by address."""
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mesh import wait_until
from world import missing

POSTGRES_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
ROWS = 100_000


@pytest.fixture(scope="module")
def postgres(world):
    reason = missing("psql", "pgbench") or (None if POSTGRES_BIN else "not installed: postgresql")
    if reason:
        pytest.skip(reason)
    data = world.folder / "postgres"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    world.run("server", POSTGRES_BIN[0] / "initdb", "-D", data / "data", "-A", "trust", "--no-sync", user="postgres")
    hba = data / "data/pg_hba.conf"
    hba.write_text("local all all trust\nhost guarded all samehost trust\nhost guarded all all reject\nhost all all all trust\n")
    host = world.network["server"].ipv4
    world.start("server", "postgres", 5432, POSTGRES_BIN[0] / "postgres", "-D", data / "data", "-c", f"listen_addresses={host}", "-c",
                f"unix_socket_directories={data}", "-c", "fsync=off", user="postgres")
    base = ["-h", host, "-U", "postgres"]
    world.run("client", "pgbench", *base, "-i", "-q", "-s", "2", "postgres")
    world.run("client", "psql", *base, "-c", "create database guarded", "-c", "create database copy", "postgres")
    return base


def sql(world, base, *statements, database="postgres", check=True):
    commands = [word for statement in statements for word in ("-c", statement)]
    return world.run("client", "psql", *base, "-X", "-At", *commands, database, check=check).stdout


@pytest.mark.parametrize("more", [["-T", "5"], ["-T", "3", "-C"], ["-T", "3", "-M", "prepared"]],
                         ids=["kept", "anew each time", "prepared"])
def test_postgres_transactions_lose_nothing(world, postgres, more):
    def work():
        sql(world, postgres, "truncate pgbench_history", "update pgbench_accounts set abalance = 0",
            "update pgbench_tellers set tbalance = 0")
        text = world.run("client", "pgbench", *postgres, "-n", "-c", "8", "-j", "2", *more, "postgres").stdout
        assert "number of failed transactions: 0 " in text, text
        done = int(text.split("number of transactions actually processed: ")[1].split()[0].split("/")[0])
        counted = sql(world, postgres, "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts) and sum(delta) = "
                      "(select sum(tbalance) from pgbench_tellers) from pgbench_history").strip()
        assert counted == f"{done}|t" and done > 10
    world.watch("postgres", work)


def test_postgres_copies_in_and_out(world, postgres):
    path = world.folder / "rows"
    path.write_text("".join(f"{i}\t{'x' * (i % 97)}\n" for i in range(ROWS)))

    def work():
        sql(world, postgres, "drop table if exists t", "create table t (a int, b text)", f"\\copy t from '{path}'",
            f"\\copy (select * from t order by a) to '{path}.out'")
        assert Path(f"{path}.out").read_bytes() == path.read_bytes()
        return sql(world, postgres, "select count(*), md5(string_agg(b, '' order by a)) from t")
    assert world.same("postgres", work).startswith(f"{ROWS}|")


def test_postgres_dumps_and_restores(world, postgres):
    def work():
        # The pipe is a shell's: two connections at once, one that only reads and one that only writes.
        flags = " ".join(postgres)
        world.run("client", "sh", "-ec", f"pg_dump {flags} --clean --if-exists -t pgbench_accounts postgres | "
                  f"psql {flags} -q -v ON_ERROR_STOP=1 copy")
        return sql(world, postgres, "select count(*), sum(aid), sum(bid) from pgbench_accounts", database="copy")
    world.same("postgres", work)


def test_postgres_cancels_a_query_and_tells_of_errors(world, postgres):
    def work():
        client = subprocess.Popen(world.network["client"].command(["psql", *postgres, "-X", "-c", "select pg_sleep(30)", "postgres"]),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        asked = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(30)'"
        wait_until("the query runs", lambda: sql(world, postgres, asked).strip() == "1", 20)
        began = time.monotonic()
        client.send_signal(signal.SIGINT)
        text, _ = client.communicate(timeout=20)
        assert time.monotonic() - began < 10
        failed = world.run("client", "psql", *postgres, "-X", "-c", "select 1/0", "postgres", check=False)
        gone = world.run("client", "psql", *postgres, "-X", "-c", "select pg_terminate_backend(pg_backend_pid())", "postgres", check=False)
        return client.returncode, text, failed.returncode, failed.stdout, gone.returncode
    world.same("postgres", work)


def test_postgres_samehost_does_not_let_the_mesh_in(world, postgres):
    def work():
        done = world.run("client", "psql", *postgres, "-X", "-At", "-c", "select current_user", "guarded", check=False)
        return done.returncode, "pg_hba.conf rejects connection" in done.stdout, "postgres" == done.stdout.strip()
    assert world.same("postgres", work) == (2, True, False)


@pytest.fixture(scope="module")
def mariadb(world):
    reason = missing("mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump", "mariadb-slap")
    if reason:
        pytest.skip(reason)
    data, host = world.folder / "mariadb", world.network["server"].ipv4
    data.mkdir()
    shutil.chown(data, "mysql", "mysql")
    world.run("server", "mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}/data",
              "--auth-root-authentication-method=normal", "--skip-test-db")
    # One statement a line. `near` is an account of callers from MariaDB's own host alone.
    (data / "init").write_text("CREATE USER 'far'@'%' IDENTIFIED BY 'far';\nGRANT ALL ON *.* TO 'far'@'%';\nCREATE DATABASE one;\n"
                               "CREATE DATABASE two;\nCREATE USER 'near'@'localhost';\nCREATE USER 'near'@'127.0.0.1';\n")
    world.start("server", "mariadb", 3306, "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}/data", f"--socket={data}/sock",
                f"--bind-address={host}", "--port=3306", f"--init-file={data}/init", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
    return ["--no-defaults", "-h", host, "-ufar", "-pfar"]


def ask(world, base, statement, database="one", **how):
    return world.run("client", "mariadb", *base, "-N", "-B", "-e", statement, database, **how).stdout


def test_mariadb_serves_many_and_a_dump_restores(world, mariadb):
    def work():
        world.run("client", "mariadb-slap", *mariadb, "--concurrency=8", "--iterations=2", "--auto-generate-sql", "--number-of-queries=800",
                  "--auto-generate-sql-load-type=mixed")
        ask(world, mariadb, "drop table if exists t; create table t (a int primary key, b longtext); "
                            f"insert into t select seq, repeat(md5(seq), 20) from seq_1_to_{ROWS // 5}")
        flags = " ".join(mariadb)
        world.run("client", "sh", "-ec", f"mariadb-dump {flags} --skip-comments one t | mariadb {flags} two")
        sums = ask(world, mariadb, "checksum table one.t, two.t").split()
        assert sums[1] == sums[3]
        return sums
    world.same("mariadb", work)


def test_mariadb_tells_of_errors_and_trusts_no_caller_as_its_own_host(world, mariadb):
    def work():
        near = world.run("client", "mariadb", *mariadb[:3], "-unear", "-e", "select 1", check=False)
        wrong = world.run("client", "mariadb", *mariadb[:3], "-ufar", "-pwrong", "-e", "select 1", check=False)
        killed = world.run("client", "mariadb", *mariadb, "-e", "kill connection_id()", check=False)
        return near.returncode, wrong.returncode, killed.returncode, "Access denied" in near.stdout, "Access denied" in wrong.stdout
    assert world.same("mariadb", work)[3:] == (True, True)
