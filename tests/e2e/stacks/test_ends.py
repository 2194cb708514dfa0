# SPDX-License-Identifier: Apache-2.0
"""How a connection ends, as TLS peers that are not Tabard see it: an end that is no clean one must never look like one, in
both roles and on every stack (RFC 8446, sections 6.1 and 6.2)."""
import contextlib
import os
import signal
import socket
import struct
import threading

import pytest

import stacks as tls_stacks
from foreign import MemoryClient
from mesh import API, WEB, Agent, Service, connect, how_it_ends, join_address, wait_until
from pair import client_config, server_config

HALF = b"half of the answer\n"
MUCH = 48 << 20  # more than all buffers on the way hold
SHORT_MS = 1500


@pytest.fixture(scope="module")
def stacks():
    made = tls_stacks.Stacks()
    yield made
    made.close()


@pytest.mark.parametrize("stack", tls_stacks.STACKS)
def test_the_stack_is_installed(stack):
    if tls_stacks.why_not(stack):
        pytest.skip(tls_stacks.why_not(stack))


class World:
    """One sidecar of Tabard, and at its mesh side one peer of each stack. `apps` are the plain sockets at the other side."""

    def __init__(self, role, stacks, authority, *, without=(), settings=None, certificate=None, **options):
        self.stack = contextlib.ExitStack()
        self.apps, self.over = [], threading.Event()
        self.names = [name for name in tls_stacks.STACKS if name not in without and not tls_stacks.why_not(name)]
        self.settings = settings or {}
        self.stack.callback(self.over.set)
        try:
            (self._serve if role == "server" else self._call)(stacks, authority, certificate, options)
        except BaseException:
            self.close()
            raise

    def _talk(self, sock):
        if sock.recv(100):
            sock.sendall(HALF)
        self.apps.append(sock)

    def _handle(self, sock):
        self._talk(sock)
        self.over.wait(60)

    def _serve(self, stacks, authority, certificate, options):
        service = self.stack.enter_context(contextlib.closing(Service(self._handle)))
        self.agent = Agent("payments", server_config(authority, service.address, **self.settings))
        self.stack.callback(self.agent.close)
        certificate = certificate or authority.issue("web", WEB)
        self.peers = {name: self._peer(stacks, name, "client", self.agent.address("127.0.0.1:0"), certificate, authority, options)
                      for name in self.names}
        wait_until("every peer is served", lambda: len(self.apps) == len(self.peers), seconds=30)

    def _call(self, stacks, authority, certificate, options):
        certificate = certificate or authority.issue("api", API)
        self.peers = {name: self._peer(stacks, name, "server", ("127.0.0.1", 0), certificate, authority, options)
                      for name in self.names}
        ports = [peer.port() for peer in self.peers.values()]
        config = client_config(authority, ("127.0.0.1", ports[0]), **self.settings)
        listens = [f"127.0.0.{number}:0" for number in range(1, len(ports) + 1)]
        config["forwards"] = [{"listen": listen, "destination": join_address("127.0.0.1", port)} for listen, port in zip(listens, ports)]
        config["destinations"][0]["ports"] = ports
        self.agent = Agent("shop", config)
        self.stack.callback(self.agent.close)
        for listen in listens:
            self._talk(self.stack.enter_context(connect(self.agent.address(listen), seconds=20)))

    def _peer(self, stacks, name, role, address, certificate, authority, options):
        return self.stack.enter_context(contextlib.closing(stacks.peer(name, role, address, certificate, authority.roots, **options)))

    def outcomes(self):
        """By stack, whether the end is told from a clean one; what came before is whole in any case."""
        ends = {name: peer.outcome() for name, peer in self.peers.items()}
        short = {name: end for name, end in ends.items() if end[0] < len(HALF)}
        assert not short, short
        return {name: how for name, (_, how) in ends.items()}

    def close(self):
        self.stack.close()


def how_the_application_sees_it(app, options):
    if options.get("end") == "finish":  # the peer's own end came before
        assert how_it_ends(app) == "clean"
        wait_until("the application is reset", lambda: app.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        return "reset"
    return how_it_ends(app)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def flood(sock):
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(bytes(65536))


def nothing(world):
    pass


def application_resets(world):
    for app in world.apps:
        reset(app)


def application_floods(world):
    """The peers do not read: what Tabard has yet to send lies before its alert."""
    for app in world.apps:
        threading.Thread(target=flood, args=(app,), daemon=True).start()
    wait_until("the peers are given up", lambda: len(world.agent.lines(msg="conn", reason="stalled")) == len(world.peers), seconds=30)
    let_the_peers_read(world)


def application_floods_and_resets(world):
    for app in world.apps:
        app.settimeout(0.5)
    senders = [threading.Thread(target=flood, args=(app,)) for app in world.apps]  # until no more goes in
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    for app in world.apps:
        reset(app)
    let_the_peers_read(world)


def let_the_peers_read(world):
    for peer in world.peers.values():
        peer.go_on()


def drain(world):
    threading.Thread(target=world.agent.stop, daemon=True).start()


def revoke(world):
    if "inbound_ports" in world.agent.config:
        world.agent.config["policies"] = []
    else:
        world.agent.config["destinations"][0]["identities"] = ["spiffe://demo.example/ns/payments/sa/other"]
    world.agent.apply()


def kill_the_proxy(world):
    os.kill(world.agent.proxy_pid(), signal.SIGKILL)


# name, the reason that is logged (None: none is), settings, options of the peers, what happens, stacks that can't do their part
WAYS = [
    ("the application resets", "local_reset", {}, {}, application_resets, ()),
    ("the application resets behind much data", "local_reset", {}, {"wait": "yes"}, application_floods_and_resets, ()),
    ("the application does not read", "stalled", {"limits": {"stall_ms": SHORT_MS}}, {"send": MUCH}, nothing, ()),
    ("the peer does not read", "stalled", {"limits": {"stall_ms": SHORT_MS, "closing_ms": 200}}, {"wait": "yes"}, application_floods, ()),
    ("nobody says anything", "idle", {"limits": {"idle_ms": SHORT_MS}}, {}, nothing, ()),
    ("no answer comes to the peer's end", "half_closed_timeout", {"limits": {"half_closed_ms": SHORT_MS}}, {"end": "finish"}, nothing, ()),
    ("the sidecar is stopped", "draining", {"drain_seconds": 1}, {}, drain, ()),
    ("policy changes", None, {}, {}, revoke, ()),
    ("the peer's certificate expires", "peer_expired", {"limits": {"peer_expiry_grace_ms": 1}}, {}, nothing, ()),
    ("the proxy is killed", None, {}, {}, kill_the_proxy, ()),
    # JSSE hides the TCP socket.
    ("the peer sends a bare FIN", "truncated", {}, {"end": "fin"}, nothing, ("java",)),
]


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("way, reason, settings, options, act, without", WAYS, ids=[way[0].replace(" ", "_") for way in WAYS])
def test_an_end_that_is_no_clean_one_never_looks_like_one(stacks, authority, keep, role, way, reason, settings, options, act, without):
    certificate = None
    if reason == "peer_expired":
        certificate = authority.forge("soon", WEB if role == "server" else API, end=8)
    world = keep(World(role, stacks, authority, without=without, settings=settings, certificate=certificate, **options))
    act(world)
    ends = world.outcomes()
    wrong = {name: how for name, how in ends.items() if not how.startswith("error")}
    assert not wrong, (wrong, ends)
    if reason:
        wait_until(f"all end as {reason}", lambda: len(world.agent.lines(msg="conn", reason=reason)) == len(world.peers))
    if not act.__name__.startswith("application"):
        assert {how_the_application_sees_it(app, options) for app in world.apps} == {"reset"}


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_clean_end_of_the_application_is_one_to_every_stack(stacks, authority, keep, role):
    world = keep(World(role, stacks, authority))
    for app in world.apps:
        app.shutdown(socket.SHUT_WR)
    assert set(world.outcomes().values()) == {"clean"}


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("end, ways", [("close", {"clean"}), ("finish", {"clean"}), ("fin", {"reset"}), ("reset", {"reset"})])
def test_an_end_of_any_stack_s_own_is_what_it_is_to_the_application(stacks, authority, keep, role, end, ways):
    """JSSE's usual close sends alert 90 (user canceled) before close_notify."""
    world = keep(World(role, stacks, authority, end=end, without=("java",) if end in ("fin", "reset") else ()))
    assert {how_it_ends(app) for app in world.apps} == ways


def test_after_our_close_notify_only_a_reset_is_left_to_tell(authority, keep):
    """A peer that has heard a clean end and still sends must not believe that what it sends arrives."""
    def answer_end_and_reset(sock):
        sock.sendall(HALF + sock.recv(1))
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
        reset(sock)

    agent = keep(Agent("payments", server_config(authority, keep(Service(answer_end_and_reset)).address)))
    client = keep(MemoryClient(agent.address("127.0.0.1:0"), authority, authority.issue("web", WEB)).handshake())
    assert client.exchange(b"!").startswith(b"half")
    while client.sock.recv(1000):  # the rest, the close_notify and the FIN
        pass
    client.tls.write(b"more")
    client.sock.sendall(client.outgoing.read())
    wait_until("the peer is reset", lambda: client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), seconds=3)
    agent.wait_conn(reason="local_reset")
