# SPDX-License-Identifier: Apache-2.0
"""Key exchange that withstands a quantum computer, and ML-DSA beside ECDSA, whichever of both a CA, a caller and a
service have."""
import contextlib

import pytest

from ca import Authority
from foreign import attempt, server_context
from mesh import API, DOMAIN, WEB, Agent, Service, connect, exchange
from pair import FORWARD, Pair, client_config, identity, server_config, serving


@contextlib.contextmanager
def mesh(authority, of_server, of_client):
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(contextlib.closing(Service()))
        server = stack.enter_context(contextlib.closing(Agent("payments", server_config(
            authority, service.address, certificate=authority.issue("api", API, "--key", of_server)))))
        client = stack.enter_context(contextlib.closing(Agent("shop", client_config(
            authority, server.address("127.0.0.1:0"), certificate=authority.issue("web", WEB, "--key", of_client)))))
        yield server, client


def answers(client):
    with connect(client.address(FORWARD)) as sock:
        return exchange(sock, b"hello") == b"hello"


@pytest.mark.parametrize("of_ca", ["p256", "ml-dsa-44", "ml-dsa-65"])
def test_peers_with_ecdsa_and_with_ml_dsa_prove_themselves_to_each_other(of_ca):
    with contextlib.closing(Authority(DOMAIN, key=of_ca)) as root, contextlib.closing(Authority(DOMAIN, parent=root, key=of_ca)) as between:
        with mesh(between, "p256", "ml-dsa-44") as (server, client):
            assert answers(client)
            for of_server, of_client in [("ml-dsa-65", "p256"), ("ml-dsa-44", "ml-dsa-65")]:
                server.config["identity"] = identity(between.issue("api", API, "--key", of_server))
                client.config["identity"] = identity(between.issue("web", WEB, "--key", of_client))
                server.apply()
                client.apply()
                assert answers(client), (of_server, of_client)
            # A CRL of that CA, and of a certificate whose key is of the other kind.
            shown = between.issue("web", WEB, "--key", "p256" if of_ca != "p256" else "ml-dsa-44")
            client.config["identity"] = identity(shown)
            client.apply()
            assert answers(client)
            server.config["trust_bundles"][0]["crls"] = str(between.revoke(shown))
            server.apply()
            mark = server.mark()
            with contextlib.suppress(ConnectionError):
                assert not answers(client)
            assert server.wait_line(mark, msg="conn")["reason"] == "revoked"


CLASSICAL = "prime256v1"


def demand(agent, value="POST_QUANTUM"):
    agent.config["settings"]["key_exchange"] = value
    agent.apply()


def test_two_sidecars_agree_on_a_post_quantum_group_and_say_so(authority):
    with contextlib.closing(Pair(authority)) as pair:
        for value in ("ANY", "POST_QUANTUM"):
            demand(pair.server, value)
            demand(pair.client, value)
            marks = pair.server.mark(), pair.client.mark()
            with connect(pair.client.address(FORWARD)) as sock:
                assert exchange(sock, b"hello") == b"hello"
            for agent, mark in zip((pair.server, pair.client), marks):
                assert agent.wait_conn(mark)["group"] == "X25519MLKEM768"
        assert pair.server.metric("tabard_handshakes_total", direction="inbound", key_exchange="post_quantum") == 2
        assert pair.client.metric("tabard_handshakes_total", direction="outbound", key_exchange="classical") == 0


def test_a_caller_without_ml_kem_is_served_until_it_is_demanded(authority):
    with serving(authority) as server:
        address, web = server.address("127.0.0.1:0"), authority.issue("web", WEB)
        mark = server.mark()
        assert attempt(address, authority, web, group=CLASSICAL) == b"hello"
        assert server.wait_conn(mark)["group"] == "P-256"
        assert server.metric("tabard_handshakes_total", direction="inbound", key_exchange="classical") == 1
        demand(server)
        mark = server.mark()
        assert "HANDSHAKE_FAILURE" in attempt(address, authority, web, group=CLASSICAL)
        line = server.wait_conn(mark)
        assert line["reason"] == "no_shared_group" and "group" not in line
        assert line["detail"] == "the peer offers no X25519MLKEM768, and settings.key_exchange demands it"
        assert server.metric("tabard_connections_closed_total", direction="inbound", reason="no_shared_group") == 1
        demand(server, "ANY")
        assert attempt(address, authority, web, group=CLASSICAL) == b"hello"


def test_a_server_without_ml_kem_is_called_until_it_is_demanded(authority):
    context = server_context(authority, authority.issue("api", API), group=CLASSICAL)

    def serve(sock):
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(secure.recv(5))
            secure.unwrap()

    with contextlib.closing(Service(serve)) as service, contextlib.closing(Agent("shop", client_config(authority, service.address))) as client:
        assert answers(client)
        demand(client)
        mark = client.mark()
        with contextlib.suppress(ConnectionError):
            assert not answers(client)
        line = client.wait_conn(mark)
        assert line["reason"] == "peer_alert", line
        assert "handshake failure: the server may not know X25519MLKEM768, and settings.key_exchange" in line["detail"]
