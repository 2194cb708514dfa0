# SPDX-License-Identifier: Apache-2.0
"""What the operator sees: metrics, status, and tabardctl's answers."""
import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import threading
import time

import pytest

from foreign import attempt
from listed_metrics import listed, shown
from mesh import API, STRANGER, WEB, Agent, connect, exchange, run, wait_until
from pair import Pair, allow, bundles, server_config

SAMPLE = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="[^"\n]*",?)+\})? -?[0-9.e+]+$')
# What a terminal takes for orders, and two lines that pass for tabardctl's own.
ORDERS = "\x1b[2J\x1b]0;owned\x07\u009b31m\x7f\rready\nready"


def test_the_metrics_are_those_that_are_listed_and_well_formed(authority, keep):
    pair = keep(Pair(authority))
    pair.server.config["trust_bundles"] = bundles(authority, authority.revoke(authority.issue("gone", STRANGER)))
    pair.server.apply()
    text = pair.server.http("metrics", "/metrics")[1]
    assert shown(text) == listed("tabard-agent", "tabard-proxy")
    for line in text.splitlines():
        assert line.startswith("#") or SAMPLE.match(line), line


def reply_threefold(sock):
    while data := sock.recv(65536):
        sock.sendall(3 * data)
    sock.shutdown(socket.SHUT_WR)


def test_connections_and_bytes_are_counted_by_direction_and_flow(authority, keep):
    pair = keep(Pair(authority, handler=reply_threefold))
    ends = ((pair.client, "outbound"), (pair.server, "inbound"))
    marks = [agent.mark() for agent, _ in ends]

    def figures(agent, direction):
        return (agent.metric("tabard_connections_opened_total", direction=direction),
                agent.metric("tabard_connections_closed_total", direction=direction, reason="finished"),
                agent.metric("tabard_bytes_total", direction=direction, flow="up"),
                agent.metric("tabard_bytes_total", direction=direction, flow="down"))

    with pair.connect() as sock:
        sock.sendall(b"x" * 1000)
        assert sock.recv(3000, socket.MSG_WAITALL) == b"x" * 3000
        for agent, direction in ends:
            (row,) = agent.status(connections=10)["connections"]
            assert (row["direction"], int(row["bytes_up"]), int(row["bytes_down"])) == (direction, 1000, 3000)
            said = run("tabardctl", "status", "--admin", agent.folder / "admin.sock").stdout
            assert re.search(rf"^{row['id']} +{direction} +relay .* 1000 +3000 +\d+s ", said, re.M), said
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    for (agent, direction), mark in zip(ends, marks):
        line = agent.wait_conn(mark, dir=direction)
        assert (line["up"], line["down"]) == ("1000", "3000")
        wait_until(f"{agent.name} counts one connection, and its bytes each way",
                   lambda: figures(agent, direction) == (1, 1, 1000, 3000))


def test_the_certificate_s_end_and_the_generation_are_told(pair):
    expiry = pair.server.metric("tabard_certificate_expiry_timestamp_seconds", spiffe_id=API)
    assert time.time() < expiry < time.time() + 400 * 86400
    status = pair.server.status()
    assert status["spiffe_id"] == API and int(status["certificate_not_after_unix"]) == expiry
    assert pair.server.metric("tabard_snapshot_generation") == int(status["generation"])


def test_status_lists_the_open_connections(pair):
    with pair.connect() as sock:
        assert exchange(sock, b"hello") == b"hello"
        status = pair.server.status(connections=1000)
        mine = [line for line in status["connections"] if line.get("peer") == WEB and line["direction"] == "inbound"]
        assert mine and mine[-1]["policy"] == "shop-may-pay" and int(mine[-1]["bytes_up"]) == 5
        assert status["listeners"] and int(status["proxy_pid"]) > 0
        said = run("tabardctl", "status", "--admin", pair.server.folder / "admin.sock").stdout
        assert API in said and "shop-may-pay#0" in said
        said = run("tabardctl", "status", "--admin", pair.client.folder / "admin.sock").stdout
        assert f"{API}, payments\n" in said, "no rule decides where the service may go"


def test_status_shows_the_limits_and_what_lowered_them(authority, keep, service):
    agent = keep(Agent("payments", server_config(authority, service.address), prefix=["prlimit", "--nofile=1024:1024"]))
    limits = agent.status()["limits"]
    assert (limits["descriptors"], limits["connections"], limits["hellos"]) == (768, 384, 459)
    assert limits["identity_connections"] == 384, "none is set"
    line = agent.wait_line(msg="limits lowered to fit")
    assert (line["connections"], line["descriptors"]) == ("384", "768")


def test_what_workers_and_listeners_take_of_the_descriptors_is_no_connection_s(authority, keep, service):
    config = server_config(authority, service.address)
    config["forwards"] = [{"listen": "127.0.0.1:0", "destination": f"127.0.0.1:{port}"} for port in (4001, 4002)]
    agent = keep(Agent("payments", config, workers=8, prefix=["prlimit", "--nofile=200:200"]))
    taken = len(os.listdir(f"/proc/{agent.proxy_pid()}/fd"))
    assert agent.status()["limits"]["descriptors"] == 200 - 16 - 8 * (8 + 3 * 2)
    assert agent.status()["limits"]["descriptors"] + taken <= 200


def test_the_admin_socket_is_the_operator_s_alone(pair):
    mode = stat.S_IMODE(os.stat(pair.server.folder / "admin.sock").st_mode)
    assert mode & 0o077 == 0, oct(mode)


def test_status_without_an_agent_says_so_in_one_line(tmp_path):
    done = run("tabardctl", "status", "--admin", tmp_path / "nobody.sock", check=False)
    assert done.returncode == 1 and "nobody.sock" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("path, status", [("/nothing", 404), ("/../etc/passwd", 404)])
def test_other_paths_are_not_found(pair, path, status):
    assert pair.server.http("metrics", path)[0] == status
    assert pair.server.http("health", path)[0] == status


def test_a_client_that_never_finishes_its_request_blocks_nobody(pair):
    socks = [connect(pair.server.address("health")) for _ in range(20)]
    for sock in socks:
        sock.sendall(b"GET /hea")
    assert pair.server.http("health", "/healthz/ready")[0] == 200
    for sock in socks:
        sock.close()


def test_check_accepts_what_is_in_force_and_names_what_is_wrong(pair, tmp_path):
    good = json.loads((pair.server.folder / "mesh.yaml").read_text())
    path = tmp_path / "mesh.yaml"
    path.write_text(json.dumps(good, indent=2))
    assert run("tabardctl", "check", path).returncode == 0
    good["policies"][0]["ports"] = [70000]
    path.write_text(json.dumps(good, indent=2))
    done = run("tabardctl", "check", path, check=False)
    assert done.returncode == 1
    assert re.search(r"mesh\.yaml:\d+:\d+: policies\[0\]\.ports\[0\]: 70000", done.stderr + done.stdout), done
    done = run("tabardctl", "check", tmp_path / "nowhere.yaml", check=False)
    assert done.returncode != 0 and "nowhere.yaml" in done.stderr


def test_explain_and_check_understand_ranges_of_ports(tmp_path):
    (tmp_path / "mesh.yaml").write_text("""
inbound_ports: [{port: 8000-8999, mode: PERMISSIVE}, {port: 8443, mode: MTLS}]
policies: [{name: near, action: ALLOW, mode: ENFORCE, ports: [8000-8499], rules: [{source_ips: [127.0.0.0/8]}]}]
destinations: [{name: db, addresses: [10.0.0.1], ports: [5000-5999], mode: PLAINTEXT}]
""")
    def explain(*arguments):
        return run("tabardctl", "explain", "--config", tmp_path / "mesh.yaml", *arguments, check=False).stdout

    for port, words in (("8080", "allowed: by policy near, rule 0"), ("8500", "denied: by default"),
                        ("8443", "port 8443 is MTLS")):
        assert words in explain("--from", "none", "--source", "127.0.0.1", "--port", port)
    assert "allowed: 10.0.0.1:5432 is destination db" in explain("--to", "10.0.0.1:5432")
    assert "denied" in explain("--to", "10.0.0.1:6000")


def test_explain_answers_as_the_sidecar_does(authority, keep):
    pair = keep(Pair(authority))
    pair.server.config["policies"] = [
        allow("shop-may-pay", WEB),
        {"name": "no-strangers", "action": "DENY", "mode": "ENFORCE", "ports": [8080], "rules": [{"principals": [STRANGER]}]},
    ]
    pair.server.apply()
    for spiffe_id, verdict, rule in ((WEB, "allow", "shop-may-pay"), (STRANGER, "den", "no-strangers"), (API, "den", "default")):
        done = run("tabardctl", "explain", "--config", pair.server.folder / "mesh.yaml", "--from", spiffe_id,
                   "--source", "127.0.0.1", "--port", "8080", check=False)
        said = done.stdout.lower()
        assert verdict in said and rule in said, done
        mark = pair.server.mark()
        name = spiffe_id.rsplit("/", 1)[1]
        answer = attempt(pair.inbound, authority, authority.issue(name, spiffe_id))
        assert (answer == b"hello") == (verdict == "allow")
        line = pair.server.wait_conn(mark, dir="inbound")
        assert line["rule"].startswith(rule if rule != "default" else "-")


def test_wrong_flags_of_tabardctl_are_named():
    for arguments, word in ((["explode"], "explode"), (["explain", "--port", "70000"], "70000"), (["status", "--bogus"], "--bogus"),
                            (["explain", "--from", "nobody", "--source", "127.0.0.1", "--port", "80"], "nobody")):
        done = run("tabardctl", *arguments, check=False)
        assert done.returncode == 2 and word in done.stderr, done
        assert len(done.stderr.splitlines()) == 1, done


def test_tabard_ca_guards_its_keys(authority, tmp_path):
    made = authority.issue("web", WEB)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(authority.key.stat().st_mode) == 0o600
    before = made.key.read_bytes()
    done = run("tabard-ca", "issue", "--dir", authority.ca, "--id", WEB, "--out-cert", made.chain, "--out-key", made.key, check=False)
    assert done.returncode != 0 and made.chain.name in done.stderr
    made.chain.rename(tmp_path / "away.pem")
    done = run("tabard-ca", "issue", "--dir", authority.ca, "--id", WEB, "--out-cert", made.chain, "--out-key", made.key, check=False)
    assert done.returncode != 0 and made.key.name in done.stderr and not made.chain.exists()
    assert made.key.read_bytes() == before
    made.chain = tmp_path / "away.pem"
    shown = subprocess.run(["openssl", "x509", "-in", made.chain, "-noout", "-ext", "subjectAltName"], capture_output=True, text=True)
    assert f"URI:{WEB}" in shown.stdout
    assert WEB in run("tabard-ca", "show", made.chain).stdout


@contextlib.contextmanager
def an_agent_that_says(path, answer):
    """An admin socket that answers whatever is asked."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        sock.recv(65536)
                        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + answer.encode())
        threading.Thread(target=serve, daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def has_orders(text):
    return any((ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160 for char in text)


def test_the_status_of_a_newer_agent_shows_what_is_known_of_it(tmp_path):
    status = {"ready": True, "version": "99.0", "spiffe_id": "spiffe://demo.example/x", "novelty": {"deep": [{"er": 1}], "x": "y"},
              "enforcement": "DREAM", "key_exchange": "DREAM", "listeners": [{"kind": "inbound", "address": "127.0.0.1:1", "colour": ["red", {"a": []}]}],
              "generation": 7}
    with an_agent_that_says(tmp_path / "admin.sock", json.dumps(status)) as path:
        done = run("tabardctl", "status", "--admin", path)
        assert done.stdout.startswith("ready\n")
        for known in ("99.0", "spiffe://demo.example/x", "127.0.0.1:1", "generation 7"):
            assert known in done.stdout
        assert "says more than this tabardctl" in done.stdout
        assert json.loads(run("tabardctl", "status", "--admin", path, "--json").stdout) == status


def test_the_audit_of_a_newer_agent_is_listed(tmp_path):
    audit = {"enforcement": "OBSERVE", "denials": [{"direction": "inbound", "reason": "policy_denied", "peer": "spiffe://demo.example/x",
                                                    "destination": "8080", "count": 3, "mood": "sad"}], "weather": "fine"}
    with an_agent_that_says(tmp_path / "admin.sock", json.dumps(audit)) as path:
        done = run("tabardctl", "audit", "--admin", path)
        assert "spiffe://demo.example/x" in done.stdout and "says more than" in done.stdout


@pytest.mark.parametrize("words", [("status",), ("audit",)])
def test_no_text_of_an_agent_gives_the_terminal_orders(tmp_path, words):
    answer = {"ready": False, "not_ready_because": ORDERS, "last_error": ORDERS, "version": ORDERS,
              "connections": [{"peer": ORDERS, "policy": ORDERS, "source": ORDERS}], "policy_agent": {"address": ORDERS}} \
        if words == ("status",) else {"denials": [{"peer": ORDERS, "reason": ORDERS, "destination": ORDERS, "policy": ORDERS}]}
    with an_agent_that_says(tmp_path / "admin.sock", json.dumps(answer)) as path:
        done = run("tabardctl", *words, "--admin", path, check=False)
        assert "\\x1b[2J" in done.stdout and not has_orders(done.stdout)
        assert "ready" not in done.stdout.splitlines()
        assert not has_orders(run("tabardctl", *words, "--admin", path, "--json", check=False).stdout)


def test_no_message_gives_the_terminal_orders(tmp_path):
    """Names of files, words on the command line, and what a socket that is no agent's says."""
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text(json.dumps({"policies": [{"name": ORDERS, "action": "ALLOW"}]}))
    (tmp_path / "\x1b[31m").write_text("\x1b[31m: 1\n")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "other.sock"))
        listener.listen(1)

        def serve():
            with listener.accept()[0] as sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.0 500 \x1b[2J\x9b\r\n\r\n")
        threading.Thread(target=serve, daemon=True).start()
        for words in (("check", mesh), ("check", tmp_path / "\x1b[31m"), ("\x1b[2J",), ("status", "--\x1b[2J"),
                      ("status", "--admin", tmp_path / "other.sock")):
            done = run("tabardctl", *words, check=False)
            assert done.returncode != 0 and done.stderr
            assert not has_orders(done.stdout + done.stderr), words
