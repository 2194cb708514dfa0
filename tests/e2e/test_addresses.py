# SPDX-License-Identifier: Apache-2.0
"""Addresses under interception: whom the service sees as its caller, what is this host's, link-local ones. Root only."""
import contextlib
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest

from ca import Authority
from foreign import attempt, tls
from mesh import API, DOMAIN, STRANGER, WEB, Agent, Service, connect, exchange, is_turned_away, join_address, wait_until
from pair import allow, bundles, identity
from test_interception import FAMILIES, address, config, ctl, local_ports

OWN = {"ipv4": "127.0.0.6", "ipv6": "::6"}


def whoami(sock):
    """Tells each caller, once it has spoken, from which address it is seen to call."""
    while sock.recv(65536):
        sock.sendall(sock.getpeername()[0].removeprefix("::ffff:").encode())


def link_local(host):
    """The link-local address of a host's eth0, once the kernel has given it one."""
    def look():
        lines = host.run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").stdout.splitlines()
        return [line.split()[3].split("/")[0] for line in lines]
    return wait_until(f"{host.name} has a link-local address", look)[0]


@contextlib.contextmanager
def intercepted(host, *flags):
    host.run(*ctl("intercept", "up", *flags))
    try:
        yield
    finally:
        host.run(*ctl("intercept", "down"))


@contextlib.contextmanager
def payments(authority, network, *flags, arguments=(), handler=whoami, settings=None, become=None):
    """The service on every address of payments behind its sidecar; `seen(host)` is how it sees a call from there. `become`: the
    agent's user and capabilities."""
    host = network["payments"]
    mesh = config(authority, API)
    mesh["policies"].append({"name": "open", "action": "ALLOW", "mode": "ENFORCE", "ports": [8081], "rules": [{"source_ips": ["0.0.0.0/0", "::/0"]}]})
    mesh["settings"].update(settings or {})
    with contextlib.ExitStack() as stack:
        services = [Service(handler, address=("::", port), netns=host) for port in (8080, 8081)]
        for service in services:
            stack.callback(service.close)
        agent = stack.enter_context(contextlib.closing(Agent("payments", mesh, netns=host, arguments=arguments, start=False)))
        if become:
            agent.become(become[0], authority, become[1])
        agent.start()
        stack.enter_context(intercepted(host, *flags))
        web = authority.issue("web", WEB)

        def seen(to, source="lobby"):
            answer = attempt((to, 8080), authority, web, network[source])
            return answer.decode() if isinstance(answer, bytes) else answer
        yield SimpleNamespace(agent=agent, host=host, seen=seen, services=services)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_service_sees_the_sidecar_s_own_address_and_none_that_it_trusts_as_its_host_s(authority, network, family):
    with payments(authority, network) as mesh:
        own = address(mesh.host, family)
        assert mesh.seen(own) == OWN[family]
        # No interface has it, so an application that asks for its host's addresses doesn't find it among them.
        assert OWN[family] not in mesh.host.run("ip", "-o", "addr").stdout.replace("/", " ").split()
        with connect((own, 8081), network["lobby"]) as sock:  # PERMISSIVE
            sock.sendall(b"x")
            assert sock.recv(100).decode() == OWN[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_of_the_service_to_its_own_address_shows_that_address(authority, network, family):
    with payments(authority, network) as mesh, connect((address(mesh.host, family), 8080), mesh.host) as sock:
        sock.sendall(b"x")
        assert sock.recv(100).decode() == address(mesh.host, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_sources_are_used_where_they_are_set(authority, network, family):
    sources = {"ipv4": ["198.51.100.6"], "ipv6": ["fd00:6::6"]}[family]
    with payments(authority, network, "--service-sources", ",".join(sources), settings={"service_source": {"addresses": sources}}) as mesh:
        assert mesh.seen(address(mesh.host, family)) == sources[0]
        other = "ipv6" if family == "ipv4" else "ipv4"
        assert mesh.seen(address(mesh.host, other)) == OWN[other]


def test_a_source_that_is_not_this_host_s_closes_the_port_and_says_why(authority, network):
    with payments(authority, network) as mesh:
        mesh.host.run("ip", "-6", "route", "del", "local", "::6", "dev", "lo")
        mark = mesh.agent.mark()
        assert mesh.seen(mesh.host.ipv6) != mesh.host.ipv6
        line = mesh.agent.wait_conn(mark, dir="inbound", reason="no_source_address")
        assert line["detail"].startswith("::6: ") and "intercept up" in line["detail"]
        assert sum(service.num_connections for service in mesh.services) == 0
        mesh.agent.config["settings"]["service_source"] = {"addresses": ["198.51.100.6"]}
        mesh.agent.apply()
        assert mesh.seen(mesh.host.ipv4) != mesh.host.ipv4
        assert mesh.agent.wait_conn(mark, reason="no_source_address", dst=f"{mesh.host.ipv4}:8080")["detail"].startswith("198.51.100.6: ")
        assert sum(service.num_connections for service in mesh.services) == 0


def test_without_interception_too_the_service_sees_the_sidecar_s_address(authority, network, keep):
    host = network["payments"]
    here = keep(Service(whoami, address=("127.0.0.1", 8080), netns=host))
    there = keep(Service(whoami, address=(network["shop"].ipv4, 8082), netns=network["shop"]))
    mesh = {**config(authority, API), "policies": [allow("web", WEB, ports=[8080, 8082])],
            "inbound_ports": [{"port": 8080, "mode": "MTLS", "listen": "0.0.0.0:9443"},
                              {"port": 8082, "mode": "MTLS", "listen": "0.0.0.0:9444", "application": f"{there.address[0]}:8082"}]}
    del mesh["settings"]["interception"]
    keep(Agent("payments", mesh, netns=host))
    web = authority.issue("web", WEB)
    assert attempt((host.ipv4, 9443), authority, web, network["lobby"]) == b"127.0.0.6"
    assert attempt((host.ipv4, 9444), authority, web, network["lobby"]) == host.ipv4.encode(), "an application elsewhere sees this host"
    assert here.num_connections == there.num_connections == 1


CALLER = {"service_source": {"mode": "CALLER"}}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_service_can_see_its_caller_s_own_address(authority, network, family):
    with payments(authority, network, "--caller-addresses", arguments=["--caller-addresses"], settings=CALLER) as mesh:
        own = address(mesh.host, family)
        assert mesh.seen(own) == address(network["lobby"], family)
        with connect((own, 8081), network["shop"]) as sock:  # PERMISSIVE, and from elsewhere
            sock.sendall(b"x")
            assert sock.recv(100).decode() == address(network["shop"], family)
        mark = mesh.agent.mark()
        with mesh.host.entered():
            assert [line for line in mesh.host.run("ss", "-tn", "state", "syn-sent").stdout.splitlines()[1:]] == []
        for service in mesh.services:
            service.close()
        mesh.seen(own)
        mesh.agent.wait_conn(mark, dir="inbound", reason="connect_refused")  # the reset came back, too


def test_an_agent_that_is_not_root_needs_the_capability_alone_for_its_callers_addresses(network):
    with contextlib.closing(Authority(DOMAIN)) as authority:
        with payments(authority, network, "--caller-addresses", arguments=["--caller-addresses"], settings=CALLER,
                      become=(1337, ["net_raw"])) as mesh:
            assert capabilities(mesh.agent) == 1 << 13
            for family in FAMILIES:
                assert mesh.seen(address(mesh.host, family)) == address(network["lobby"], family)


def test_a_link_local_caller_s_own_address_is_seen_too(authority, network):
    with payments(authority, network, "--caller-addresses", arguments=["--caller-addresses"], settings=CALLER) as mesh:
        lobby = link_local(network["lobby"])
        assert mesh.seen(f"{link_local(mesh.host)}%eth0").split("%")[0] == lobby


@pytest.mark.parametrize("family", FAMILIES)
def test_much_is_carried_both_ways_from_a_caller_s_own_address(authority, network, family):
    def double(sock):
        while data := sock.recv(65536):
            sock.sendall(data)
    data = bytes(range(256)) * 8192
    with payments(authority, network, "--caller-addresses", arguments=["--caller-addresses"], settings=CALLER, handler=double) as mesh:
        with connect((address(mesh.host, family), 8081), network["lobby"]) as sock:
            sock.settimeout(20)
            assert b"".join(exchange(sock, data[at:at + 65536]) for at in range(0, len(data), 65536)) == data


def test_a_caller_s_address_takes_what_brings_the_answers_back(authority, network):
    with payments(authority, network, arguments=["--caller-addresses"], settings=CALLER) as mesh:
        for own in (mesh.host.ipv4, mesh.host.ipv6):
            mark = mesh.agent.mark()
            begun = time.monotonic()
            assert mesh.seen(own) not in (own, OWN["ipv4"], OWN["ipv6"])
            line = mesh.agent.wait_conn(mark, dir="inbound", reason="no_source_address")
            assert "--caller-addresses" in line["detail"] and time.monotonic() - begun < 5
        assert sum(service.num_connections for service in mesh.services) == 0


def test_a_caller_s_address_takes_a_capability_and_the_proxy_has_it_only_if_told(authority, network):
    with payments(authority, network, "--caller-addresses") as mesh:
        mesh.agent.config["settings"].update(CALLER)
        line = mesh.agent.refuse()
        assert "settings.service_source.mode" in line["error"] and "CAP_NET_RAW" in line["error"]
        assert capabilities(mesh.agent) == 0
        assert mesh.seen(mesh.host.ipv4) == OWN["ipv4"]  # what was in force stays
    with payments(authority, network, arguments=["--caller-addresses"]) as mesh:
        assert capabilities(mesh.agent) == 1 << 13  # CAP_NET_RAW and no other
        assert mesh.seen(mesh.host.ipv4) == OWN["ipv4"]


def capabilities(agent):
    with open(f"/proc/{agent.proxy_pid()}/status", encoding="ascii") as file:
        sets = dict(line.split(":") for line in file)
    assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0 and sets["CapPrm"] == sets["CapEff"]
    return int(sets["CapEff"], 16)


# Link-local addresses.


@pytest.mark.parametrize("source", ["link-local", "global"])
def test_a_link_local_address_is_served(authority, network, source):
    """By whichever address of its own the caller uses: the kernel names the interface only for a link-local one."""
    with payments(authority, network) as mesh:
        own = link_local(mesh.host)
        mark = mesh.agent.mark()
        with network["lobby"].entered():
            sock = socket.socket(socket.AF_INET6)
            scope = socket.if_nametoindex("eth0")
        with sock:
            sock.settimeout(10)
            if source == "global":
                sock.bind((network["lobby"].ipv6, 0))
            sock.connect((own, 8081, 0, scope))
            sock.sendall(b"x")
            assert sock.recv(100).split(b"%")[0] == b"fe80::6"
        line = mesh.agent.wait_conn(mark, dir="inbound", reason="finished")
        assert line["dst"] == f"[{own}%eth0]:8081"
        assert line["src"].startswith(f"[{link_local(network['lobby'])}%eth0]:" if source == "link-local" else f"[{network['lobby'].ipv6}]:")


def test_a_link_local_caller_is_judged_by_its_address_and_identity(authority, network):
    with payments(authority, network) as mesh:
        own = link_local(mesh.host)
        assert mesh.seen(f"{own}%eth0").split("%")[0] == "fe80::6"
        assert attempt((f"{own}%eth0", 8080), authority, authority.issue("stranger", STRANGER), network["lobby"]) != b"fe80::6"
        mesh.agent.config["policies"].append({"name": "no-link", "action": "DENY", "mode": "ENFORCE", "rules": [{"source_ips": ["fe80::/10"]}]})
        mesh.agent.apply()
        mark = mesh.agent.mark()
        mesh.seen(f"{own}%eth0")
        assert mesh.agent.wait_conn(mark, reason="policy_denied")["rule"] == "no-link#0"
        assert mesh.seen(mesh.host.ipv6) == OWN["ipv6"]


def test_a_call_to_a_link_local_address_is_refused_at_once_and_can_be_left_alone(authority, network, keep):
    """It can't be redirected: it was lost, and its caller waited for minutes."""
    shop, own = network["shop"], link_local(network["lobby"])
    keep(Service(whoami, address=("::", 8080), netns=network["lobby"]))
    keep(Agent("shop", config(authority, WEB), netns=shop))
    with intercepted(shop):
        begun = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            connect((f"{own}%eth0", 8080), shop, seconds=5)
        assert time.monotonic() - begun < 1
    with intercepted(shop, "--exclude-outbound-cidrs", "fe80::/10"), connect((f"{own}%eth0", 8080), shop) as sock:
        sock.sendall(b"x")
        assert sock.recv(100).decode().split("%")[0] == link_local(shop)


# What is this host's.


@pytest.mark.parametrize("block, inside", [("203.0.113.0/24", "203.0.113.77"), ("10.99.0.0/16", "10.99.3.4"), ("fd99::/64", "fd99::77")])
def test_a_block_that_the_routing_calls_local_is_this_host_s(authority, network, block, inside):
    host, lobby = network["payments"], network["lobby"]
    family = ["-6"] if ":" in block else []
    way = host.ipv6 if ":" in block else host.ipv4
    with payments(authority, network) as mesh:
        lobby.run("ip", *family, "route", "add", block, "via", way)
        host.run("ip", *family, "route", "add", "local", block, "dev", "lo")
        try:
            assert mesh.seen(inside) == OWN["ipv6" if family else "ipv4"]
            host.run("ip", *family, "route", "del", "local", block, "dev", "lo")
            def is_refused():
                mark = mesh.agent.mark()
                mesh.seen(inside)
                return mesh.agent.lines(mark, reason="not_local")
            wait_until("the address is a stranger's again", is_refused, 5)
        finally:
            lobby.run("ip", *family, "route", "del", block, check=False)
            host.run("ip", *family, "route", "del", "local", block, "dev", "lo", check=False)


def test_the_anycast_address_of_a_subnet_is_refused_at_once(authority, network):
    """Every router has it (RFC 4291, section 2.6.1), but Linux serves no TCP there."""
    host, lobby = network["payments"], network["lobby"]
    with payments(authority, network) as mesh:
        host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        lobby.run("ip", "-6", "route", "add", "fd77::/128", "via", host.ipv6)
        try:
            mark = mesh.agent.mark()
            mesh.seen("fd77::")
            mesh.agent.wait_conn(mark, reason="not_local")
        finally:
            lobby.run("ip", "-6", "route", "del", "fd77::/128")
            host.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=0")


def test_an_address_on_lo_is_reached_by_an_interface_that_has_a_link_local_one_alone(authority, network):
    host, lobby = network["payments"], network["lobby"]
    host.run("ip", "addr", "del", f"{host.ipv6}/64", "dev", "eth0")
    host.run("ip", "addr", "add", "fd88::1/128", "dev", "lo", "nodad")
    host.run("ip", "-6", "route", "add", "fd77::/64", "dev", "eth0")
    lobby.run("ip", "-6", "route", "add", "fd88::1", "via", link_local(host), "dev", "eth0")
    try:
        with payments(authority, network) as mesh:
            assert mesh.seen("fd88::1") == OWN["ipv6"]
    finally:
        lobby.run("ip", "-6", "route", "del", "fd88::1")
        host.run("ip", "-6", "route", "del", "fd77::/64", "dev", "eth0")
        host.run("ip", "addr", "del", "fd88::1/128", "dev", "lo")
        host.run("ip", "addr", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")


def test_each_of_thousands_of_addresses_is_this_host_s(authority, network):
    host, lobby = network["payments"], network["lobby"]
    addresses = [f"172.16.{number >> 8}.{number & 255}" for number in range(1, 6001)]
    with payments(authority, network) as mesh:
        host.run("ip", "-batch", "-", input="".join(f"addr add {one}/32 dev lo\n" for one in addresses))
        lobby.run("ip", "route", "add", "172.16.0.0/16", "via", host.ipv4)
        try:
            for one in (addresses[0], addresses[4500], addresses[-1]):
                assert mesh.seen(one) == OWN["ipv4"]
            mark = mesh.agent.mark()
            mesh.seen("172.16.200.1")
            mesh.agent.wait_conn(mark, reason="not_local")
        finally:
            lobby.run("ip", "route", "del", "172.16.0.0/16")
            host.run("ip", "addr", "flush", "dev", "lo", "to", "172.16.0.0/16")


# Local ports.


def short_call(address, host):
    """A call whose caller ends it first."""
    with connect(address, host) as sock:
        sock.sendall(b"hi")
        assert sock.recv(100)


def test_more_calls_than_local_ports_are_all_served(authority, network):
    """The sidecar has 64 ports for its calls to the service; each is still remembered when the next but 63 comes."""
    with payments(authority, network) as mesh, local_ports(mesh.host, 40000, 40063):
        mark = mesh.agent.mark()
        for _ in range(200):
            short_call((mesh.host.ipv4, 8081), network["lobby"])
        assert {line["reason"] for line in mesh.agent.lines(mark, msg="conn")} == {"finished"}


@pytest.mark.parametrize("family", FAMILIES)
def test_more_sources_make_more_local_ports(authority, network, family):
    sources = {"ipv4": ["127.0.0.6", "127.0.0.7"], "ipv6": ["::6", "fd00:6::6"]}[family]
    flags = ["--service-sources", ",".join(sources)]
    with payments(authority, network, *flags, settings={"service_source": {"addresses": sources}}) as mesh:
        with local_ports(mesh.host, 40000, 40015), contextlib.ExitStack() as stack:
            for number in range(24):
                sock = stack.enter_context(connect((address(mesh.host, family), 8081), network["lobby"]))
                sock.sendall(b"x")
                assert sock.recv(100).decode() in sources, number


def test_a_call_waits_for_a_local_port_and_says_what_it_waited_for(authority, network):
    with payments(authority, network, settings={"limits": {"connect_ms": 2000}}) as mesh:
        to = (mesh.host.ipv4, 8081)
        with local_ports(mesh.host, 40000, 40007), contextlib.ExitStack() as stack:
            held = []
            for _ in range(8):
                held.append(stack.enter_context(connect(to, network["lobby"])))
                held[-1].sendall(b"x")
                assert held[-1].recv(100)
            mark = mesh.agent.mark()
            assert is_turned_away(to, network["lobby"], b"x")
            line = mesh.agent.wait_conn(mark, reason="no_local_port", while_="connect")
            assert 1900 <= int(line["ms"]) < 4000
            with connect(to, network["lobby"]) as sock:  # it waits, and gets the port of one that ends
                sock.sendall(b"x")
                wait_until("the call waits", lambda: mesh.agent.status(100)["connections"])
                held[0].close()
                assert sock.recv(100) == b"127.0.0.6"
            assert mesh.agent.metric("tabard_connections_closed_total", reason="no_local_port") == 1


def test_what_the_service_calls_waits_for_a_local_port_too(authority, network, keep):
    shop = network["shop"]
    keep(Service(whoami, address=("::", 9997), netns=network["lobby"]))
    agent = keep(Agent("shop", {**config(authority, WEB), "settings": {"interception": {}, "limits": {"connect_ms": 1000}}}, netns=shop))
    with intercepted(shop), contextlib.ExitStack() as stack:
        stack.enter_context(local_ports(shop, 40000, 40003))

        def call(number):  # from a port that the kernel would not choose
            with shop.entered():
                sock = stack.enter_context(socket.socket())
            sock.settimeout(5)
            sock.bind((shop.ipv4, 50000 + number))
            sock.connect((network["lobby"].ipv4, 9997))
            sock.sendall(b"x")
            return sock
        held = [call(number) for number in range(4)]
        assert all(sock.recv(100) == shop.ipv4.encode() for sock in held)
        mark = agent.mark()
        waiting = call(4)
        with contextlib.suppress(ConnectionError):
            assert waiting.recv(100) == b""
        agent.wait_conn(mark, dir="outbound", reason="no_local_port", while_="connect")


def test_callers_have_local_ports_of_their_own(authority, network):
    """With their own addresses: one that has taken all of its ports takes nobody else's."""
    with payments(authority, network, "--caller-addresses", arguments=["--caller-addresses"], settings=CALLER) as mesh:
        to = (mesh.host.ipv4, 8081)
        with local_ports(mesh.host, 40000, 40007), contextlib.ExitStack() as stack:
            for number in range(16):
                sock = stack.enter_context(connect(to, network["lobby"]))
                sock.sendall(b"x")
                if number < 8:
                    assert sock.recv(100)
            for _ in range(8):
                begun = time.monotonic()
                with connect(to, network["shop"]) as sock:
                    sock.sendall(b"x")
                    assert sock.recv(100) == network["shop"].ipv4.encode()
                    assert time.monotonic() - begun < 0.5
