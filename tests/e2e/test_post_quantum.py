# SPDX-License-Identifier: Apache-2.0
"""Key exchange that withstands a quantum computer, and ML-DSA beside ECDSA, whichever of both a CA, a caller and a
service have."""
import contextlib
import subprocess

import pytest

from ca import Authority
from foreign import attempt, server_context
from mesh import API, DOMAIN, WEB, Agent, Service, connect, exchange, free_port, run, wait_until
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


def demanded(agent):
    """What its operator sees of the demand: in the status, who says so, in the metrics, and in tabardctl's line."""
    status = agent.status()
    lines = run("tabardctl", "status", "--admin", agent.folder / "admin.sock").stdout.splitlines()
    line, = [line for line in lines if line.startswith("key exchange:")]
    return status["key_exchange"], status["key_exchange_by"], agent.metric("tabard_post_quantum_demanded"), line


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
        assert demanded(server) == ("ANY", "default", 0, "key exchange: ANY: X25519MLKEM768 with whoever has it; by default")
        demand(server)
        assert demanded(server) == ("POST_QUANTUM", "mesh.yaml", 1,
                                    "key exchange: POST_QUANTUM: whoever lacks X25519MLKEM768 is refused; by mesh.yaml")
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
        line = client.wait_conn(mark, reason="peer_alert")
        assert "handshake failure: the server may not know X25519MLKEM768, and settings.key_exchange" in line["detail"]


def s_client(address, authority, certificate, *flags):
    """What `openssl s_client` says of a handshake whose signatures are of ECDSA alone."""
    done = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % address, "-cert", certificate.chain, "-key", certificate.key,
                           "-CAfile", authority.roots, "-sigalgs", "ecdsa_secp256r1_sha256", "-ign_eof", *flags],
                          input="hello\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    return done.stdout


def with_fallback(certificate, fallback):
    return {**identity(certificate), "fallback_certificate": str(fallback.chain), "fallback_key": str(fallback.key)}


def say(sock):
    """A service that answers one line and ends."""
    sock.sendall(sock.recv(100))


def test_a_peer_that_takes_no_ml_dsa_is_told_so_and_gets_the_fallback_where_there_is_one(authority):
    pq, ec, web = authority.issue("api", API, "--key", "ml-dsa-44"), authority.issue("api", API), authority.issue("web", WEB)
    with serving(authority, handler=say, certificate=pq) as server:
        address, mark = server.address("127.0.0.1:0"), server.mark()
        assert "hello" not in s_client(address, authority, web)
        line = server.wait_conn(mark)
        assert (line["reason"], line["detail"]) == ("no_shared_signature", "the peer takes no ML-DSA-44 certificate, and there is no other to show")
        assert server.status()["certificate_key"] == "ML-DSA-44"
        server.config["identity"] = with_fallback(pq, ec)
        server.apply()
        assert server.status()["certificate_key"] == "ML-DSA-44, ECDSA P-256"
        said = s_client(address, authority, web)
        assert "hello" in said and "Verification: OK" in said and ("id-ecPublicKey" in said or "PKEY: EC," in said), said  # OpenSSL 3.5
        # Another sidecar is shown the first.
        with contextlib.closing(Agent("shop", client_config(authority, address, certificate=web))) as client:
            assert answers(client)
        signed = server.metric("tabard_signatures_total", result="ok")
        # Both keys are in force at once, and the next generation takes both away.
        server.config["identity"] = identity(ec)
        server.apply()
        assert "hello" in s_client(address, authority, web)
        assert server.metric("tabard_signatures_total", result="ok") == signed + 1
        assert server.metric("tabard_signatures_total", result="unknown_key") == 0


def test_a_server_that_takes_no_ml_dsa_is_shown_the_fallback_where_there_is_one(authority, tmp_path):
    api, pq, ec = authority.issue("api", API), authority.issue("web", WEB, "--key", "ml-dsa-65"), authority.issue("web", WEB)
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", api.chain, "-key", api.key, "-CAfile", authority.roots,
               "-Verify", "3", "-verify_return_error", "-tls1_3", "-client_sigalgs", "ecdsa_secp256r1_sha256", "-rev"]
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as peer:
        try:
            with contextlib.closing(Agent("shop", client_config(authority, ("127.0.0.1", port), certificate=pq))) as client:
                def call():
                    with contextlib.suppress(ConnectionError), connect(client.address(FORWARD)) as sock:
                        return exchange(sock, b"olleh\n")
                    return b""
                call()
                wait_until("the server listens", lambda: call() or client.lines(msg="conn", reason="no_shared_signature"))
                line = client.wait_conn(reason="no_shared_signature")
                assert line["detail"] == "the peer takes no ML-DSA-65 certificate, and there is no other to show"
                client.config["identity"] = with_fallback(pq, ec)
                client.apply()
                assert call() == b"hello\n"
        finally:
            peer.kill()


FALLBACKS = {
    "of the same kind": (lambda ours, other: ours.issue("api", API, "--key", "ml-dsa-44"), "its key is ML-DSA-44, as that of the other"),
    "of another workload": (lambda ours, other: ours.issue("web", WEB), f"it is of {WEB}, and the other certificate of {API}"),
    "of another CA": (lambda ours, other: other.forge("api", API), "fallback_certificate"),
}


@pytest.mark.parametrize("what", FALLBACKS)
def test_a_fallback_that_would_not_do_is_refused(authority, what):
    make, words = FALLBACKS[what]
    pq, ec = authority.issue("api", API, "--key", "ml-dsa-44"), authority.issue("api", API)
    with contextlib.closing(Authority("other.example")) as other, serving(authority, certificate=pq) as server:
        server.config["identity"] = with_fallback(pq, make(authority, other))
        error = server.refuse()["error"]
        assert "identity.fallback_certificate: " in error and words in error, error
        server.config["identity"] = {**with_fallback(pq, ec), "fallback_key": str(pq.key)}
        assert "identity.fallback_key: " in server.refuse()["error"]
        del server.config["identity"]["fallback_key"]
        assert "identity.fallback_key: missing" in server.refuse()["error"]


def test_a_fallback_that_has_ended_is_left_out_and_holds_up_nothing(authority):
    pq, ec = authority.issue("api", API, "--key", "ml-dsa-44"), authority.issue("api", API)
    with serving(authority) as server:
        server.config["identity"] = with_fallback(pq, authority.forge("api", API, end=-60))
        mark = server.mark()
        server.apply()
        error = server.wait_line(mark, msg="the fallback certificate is left out, since peers refuse it")["error"]
        assert error.startswith("identity.fallback.chain: ") and "expired" in error
        done = run("tabardctl", "check", server.folder / "mesh.yaml", check=False)
        assert done.returncode == 1 and "expired" in done.stderr and "the agent would leave it out" in done.stderr
        server.config["identity"] = with_fallback(pq, ec)
        mark = server.mark()
        server.apply()
        assert server.lines(mark, msg="the fallback certificate is left out, since peers refuse it") == []
        assert run("tabardctl", "check", server.folder / "mesh.yaml").returncode == 0
