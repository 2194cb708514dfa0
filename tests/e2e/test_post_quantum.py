# SPDX-License-Identifier: Apache-2.0
"""ML-DSA beside ECDSA: whichever of both a CA, a caller and a service have."""
import contextlib

import pytest

from ca import Authority
from mesh import API, DOMAIN, WEB, Agent, Service, connect, exchange
from pair import FORWARD, client_config, identity, server_config


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
