# SPDX-License-Identifier: Apache-2.0
"""What tabardctl prints of what others wrote: agents of a newer version, and whoever wants to give the terminal orders."""
import contextlib
import json
import socket
import threading

import pytest

from mesh import run

ORDERS = "\x1b[2J\x1b]0;owned\x07\u009b31m\x7f\rready\nready"


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
              "enforcement": "DREAM", "listeners": [{"kind": "inbound", "address": "127.0.0.1:1", "colour": ["red", {"a": []}]}],
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
