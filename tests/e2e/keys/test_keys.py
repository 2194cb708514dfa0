# SPDX-License-Identifier: Apache-2.0
"""Where a private key lies: in its agent, in locked memory, as long as it signs, and nowhere else."""
import os
import subprocess
import sys

import pytest

from memory import KINDS, assert_locked, find, forms
from mesh import API, WEB, Agent, connect, exchange
from pair import FORWARD, client_config, identity, server_config

NUM_KEYS_KEPT = 16  # KEYRING_KEYS_MAX

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the programs' memory is closed to others")


def call(client):
    with connect(client.address(FORWARD)) as sock:
        assert exchange(sock, b"hello") == b"hello"


@pytest.mark.parametrize("kind", KINDS)
def test_the_search_finds_every_form_of_a_key(authority, kind):
    wanted = forms(authority.issue("web", WEB, "--key", kind).key)
    holder = "import sys; held = [bytearray.fromhex(line) for line in sys.stdin.readline().split()]; print(flush=True); sys.stdin.readline()"
    for held in ([], list(wanted.values())):
        with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(b" ".join(form.hex().encode() for form in held) + b"\n")
            process.stdin.flush()
            process.stdout.readline()
            found = find(process.pid, wanted)
            process.kill()
        assert found.keys() == (wanted.keys() if held else set())


@pytest.mark.parametrize("of_server, of_client, num_handshakes", [("p256", "ed25519", 2000), ("ml-dsa-44", "ml-dsa-65", 200)])
def test_after_thousands_of_handshakes_keys_lie_in_their_agents_in_locked_memory_alone(keep, authority, service, of_server, of_client,
                                                                                          num_handshakes):
    certificates = {"server": authority.issue("api", API, "--key", of_server), "client": authority.issue("web", WEB, "--key", of_client)}
    server = keep(Agent("payments", server_config(authority, service.address, certificate=certificates["server"])))
    client = keep(Agent("shop", client_config(authority, server.address("127.0.0.1:0"), certificate=certificates["client"])))
    for _ in range(num_handshakes):
        call(client)
    for owner, agent in (("server", server), ("client", client)):
        assert agent.metric("tabard_signatures_total", result="ok") >= num_handshakes
        for whose, certificate in certificates.items():
            wanted = forms(certificate.key)
            assert find(agent.proxy_pid(), wanted) == {}, f"in the proxy of the {owner}: the key of the {whose}"
            found = find(agent.process.pid, wanted)
            assert bool(found) == (owner == whose), f"in the agent of the {owner}: the key of the {whose}: {found}"
            assert_locked(found)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_a_key_that_was_replaced(keep, authority, service, kind):
    # The agent keeps as many keys, in case a handshake has begun with one. The oldest goes when the last one has come.
    certificates = [authority.issue("api", API, "--key", kind) for _ in range(NUM_KEYS_KEPT + 1)]
    server = keep(Agent("payments", server_config(authority, service.address, certificate=certificates[0])))
    client = keep(Agent("shop", client_config(authority, server.address("127.0.0.1:0"))))
    call(client)
    for certificate in certificates[1:]:
        server.config["identity"] = identity(certificate)
        server.apply()
        call(client)
    oldest, *_, last_but_one, last = (forms(certificate.key) for certificate in certificates)
    assert find(server.process.pid, last)
    assert find(server.process.pid, oldest) == {}
    file_of_last_but_one = {name: form for name, form in last_but_one.items() if name.startswith("PEM")}
    assert find(server.process.pid, file_of_last_but_one) == {}


def test_memory_that_may_not_be_locked_is_said(keep, authority, service):
    certificate = authority.issue("api", API)
    little = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set=-ipc_lock"]
    server = keep(Agent("payments", server_config(authority, service.address, certificate=certificate), prefix=little))
    layer, = (layer for layer in server.status()["agent_sandbox"] if layer["name"] == "keys_locked")
    assert not layer.get("in_force") and layer["why"] == "64 of 1024 KiB; raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK"
    assert server.lines(level="warn", locked_bytes=65536, wanted_bytes=1 << 20)
    assert server.metric("tabard_sandbox_layer", program="agent", layer="keys_locked") == 0
    found = find(server.process.pid, forms(certificate.key))
    assert found, "its key lies in what could be locked"
    assert_locked(found)
