# SPDX-License-Identifier: Apache-2.0
"""Real sidecars that follow policy_agent.py over TCP: who proves himself to whom, and where it is looked for."""
import contextlib
import os
import socket
import time

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is missing: apt-get install python3-grpcio")
pytest.importorskip("grpc_tools", reason="python3-grpc-tools is missing: apt-get install python3-grpc-tools")

import grpc  # noqa: E402

from policy_world import API, DOMAIN, Authority, wait_until, world  # noqa: E402,F401

OTHER = f"spiffe://{DOMAIN}/ns/lobby/sa/stranger"


def tls_credentials(authority, spiffe_id, asks=False):
    made = authority.issue("agent", spiffe_id)
    return grpc.ssl_server_credentials([(made.key.read_bytes(), made.chain.read_bytes())],
                                       authority.roots.read_bytes(), require_client_auth=asks)


AGENT = f"spiffe://{DOMAIN}/policy-agent"


def over_tcp(world, *, proves=AGENT, expected=AGENT, authority=None, asks=False, identity=None, token=""):
    world.agent.set_state(world.state())
    world.server, port = world.agent.serve("127.0.0.1:0", tls_credentials(authority or world.authority, proves, asks))
    sidecar = world.payments(start=False, identity=identity, access={
        "address": f"127.0.0.1:{port}", "identity": expected, "roots": str(world.authority.roots), "join_token": token or None})
    sidecar.start(wait=False)
    return sidecar


def test_over_tcp_a_policy_agent_that_proves_itself_is_followed(world):
    over_tcp(world).wait_line(msg="snapshot in force")


def test_over_tcp_the_sidecar_shows_the_certificate_that_admits_it_and_then_its_own(world):
    seen = []
    world.agent.admit = lambda node, context: seen.append(
        (context.auth_context()["x509_pem_cert"][0].decode(), node.join_token))
    token = world.folder / "token"
    token.write_text("a-token\n")
    sidecar = over_tcp(world, asks=True, identity=world.authority.issue("api", API), token=str(token))
    sidecar.wait_line(msg="snapshot in force")
    wait_until("the stream is there", lambda: world.agent.sidecars)
    world.result("payments", "1")
    address = sidecar.config["policy_agent"]["address"]
    world.stop_serving()
    world.server, _ = world.agent.serve(address, tls_credentials(world.authority, AGENT, True))
    wait_until("the sidecar is back", lambda: len(seen) == 2, 40)
    (first, token), (second, no_token) = seen
    assert first != second and "BEGIN CERTIFICATE" in second
    assert (token, no_token) == ("a-token", "")


@pytest.mark.parametrize("proves, expected, ours, words", [
    (AGENT, OTHER, True, f"proves {AGENT}, and policy_agent.identity is {OTHER}"),
    (OTHER, AGENT, True, f"proves {OTHER}, and policy_agent.identity is {AGENT}"),
    (AGENT, AGENT, False, "the policy agent's certificate: "),
])
def test_over_tcp_nobody_else_is_listened_to(world, proves, expected, ours, words):
    stranger = Authority(DOMAIN)  # the same name, another root
    sidecar = over_tcp(world, proves=proves, expected=expected, authority=None if ours else stranger)
    stranger.close()
    assert words in sidecar.wait_line(msg="no stream to the policy agent")["error"]
    assert world.agent.sidecars == {}
    assert sidecar.http("health", "/healthz/ready")[0] == 503


def by_name(world, hosts, name="policy.test", nameserver="127.0.0.1"):
    """A sidecar whose host knows other names."""
    (world.folder / "hosts").write_text(hosts)
    (world.folder / "resolv.conf").write_text(f"nameserver {nameserver}\n")
    binds = " && ".join(f"mount --bind {world.folder}/{file} /etc/{file}" for file in ("hosts", "resolv.conf"))
    sidecar = over_tcp(world)
    sidecar.stop()
    sidecar.prefix = ["unshare", "-m", "sh", "-c", f'{binds} && exec "$0" "$@"']
    sidecar.config["policy_agent"]["address"] = f"{name}:{sidecar.config['policy_agent']['address'].rpartition(':')[2]}"
    sidecar.write_config()
    mark = sidecar.mark()
    sidecar.start(wait=False)
    return sidecar, mark


def test_a_policy_agent_s_name_is_looked_up_and_each_of_its_addresses_tried(world):
    sidecar, mark = by_name(world, "".join(f"{address} policy.test\n" for address in ("::1", "127.0.0.9", "127.0.0.1")))
    sidecar.wait_line(mark, msg="snapshot in force")
    # Without an answer the error has the name and what the last address said.
    world.stop_serving()
    sidecar.wait_line(mark, seconds=20, msg="no stream to the policy agent")
    told = wait_until("no address answers", lambda: [line for line in sidecar.lines(mark, msg="no stream to the policy agent")
                                                     if "policy.test: none of its addresses (3) takes the connection" in line["error"]], 20)
    assert "connection refused" in told[0]["error"]


def test_a_policy_agent_s_name_is_looked_up_again_at_each_connect(world):
    sidecar, mark = by_name(world, "127.0.0.9 policy.test\n")
    assert "(1) takes the connection" in sidecar.wait_line(mark, msg="no stream to the policy agent")["error"]
    (world.folder / "hosts").write_text("127.0.0.1 policy.test\n")  # in place: it is mounted
    sidecar.wait_line(mark, 20, msg="snapshot in force")


def test_a_name_that_nobody_knows_is_told_and_a_resolver_that_says_nothing_keeps_nobody(world):
    sidecar, mark = by_name(world, "127.0.0.1 localhost\n")
    assert "policy.test can't be resolved: " in sidecar.wait_line(mark, msg="no stream to the policy agent")["error"]
    sidecar.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.53", 53))
        sidecar, mark = by_name(world, "127.0.0.1 localhost\n", nameserver="127.0.0.53")
        assert silent.recv(2048)
        began = time.monotonic()
        sidecar.stop()
        assert time.monotonic() - began < 5
        # The lookup has a deadline, and the resolver's own end comes hardly before it.
        mark = sidecar.mark()
        sidecar.start(wait=False)
        line = sidecar.wait_line(mark, seconds=20, msg="no stream to the policy agent")
        assert "policy.test" in line["error"] or "the server's name" in line["error"]


def test_a_sidecar_that_keeps_its_identity_asks_for_none(world):
    identity = world.authority.issue("api", API)
    sidecar = over_tcp(world, identity=identity)
    sidecar.stop()
    asked = []
    world.agent.certify = lambda node, csr, wanted: asked.append(node.id)
    sidecar.config["policy_agent"]["keep_identity"] = True
    sidecar.write_config()
    mark = sidecar.mark()
    sidecar.start()
    wait_until("the stream is there", lambda: world.agent.sidecars)
    assert sidecar.lines(mark, msg="snapshot in force")[-1]["id"] == API
    assert world.result("payments", "1") == "" and asked == []


def memory_holds(pid, text):
    """Whether a process has the text in memory that it may write to."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            where, rights = line.split()[:2]
            begin, end = (int(number, 16) for number in where.split("-"))
            if rights.startswith("rw") and "[vvar" not in line:
                with contextlib.suppress(OSError):
                    memory.seek(begin)
                    if text in memory.read(end - begin):
                        return True
    return False


def test_a_service_account_s_token_is_read_anew_sent_to_nobody_else_and_forgotten(world):
    seen = []
    world.agent.admit = lambda node, context: seen.append(node.service_account_token)
    token = world.folder / "sa"
    secrets = [f"{number}.{os.urandom(600).hex()}.{os.urandom(24).hex()}" for number in "01"]
    stranger = Authority(DOMAIN)
    sidecar = over_tcp(world, authority=stranger)
    sidecar.config["policy_agent"]["service_account_token"] = str(token)
    heard = sidecar.mark()
    sidecar.write_config()
    assert f"the service account's token: {token}: No such file" in sidecar.wait_line(heard, msg="no stream to the policy agent")["error"]
    heard = sidecar.mark()
    token.write_text(secrets[0])
    assert "the policy agent's certificate: " in sidecar.wait_line(heard, seconds=40, msg="no stream to the policy agent")["error"]
    assert seen == [], "a server that proves nothing gets nothing"
    address = sidecar.config["policy_agent"]["address"]
    world.stop_serving()
    stranger.close()
    world.server, _ = world.agent.serve(address, tls_credentials(world.authority, AGENT))
    sidecar.wait_line(seconds=40, msg="snapshot in force")
    assert seen == secrets[:1]
    token.write_text(secrets[1] + "\n")
    world.stop_serving()
    world.server, _ = world.agent.serve(address, tls_credentials(world.authority, AGENT))
    wait_until("the sidecar is back", lambda: len(seen) == 2, 40)
    assert seen == secrets
    for secret in secrets:
        assert secret[:32] not in sidecar.log()
        assert not memory_holds(sidecar.process.pid, secret[:64].encode())
