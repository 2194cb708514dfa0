# SPDX-License-Identifier: Apache-2.0
"""Real interception in network namespaces: the services know nothing, IPv4 and IPv6. Root only."""
import contextlib
import copy
import socket
import struct
import subprocess
from types import SimpleNamespace

import pytest

from foreign import attempt
from mesh import (API, PROGRAMS, STRANGER, WEB, Agent, Service, connect, exchange, is_reset_or_closed, is_turned_away, join_address, run,
                  wait_until)
from pair import allow, bundles, identity

FAMILIES = ["ipv4", "ipv6"]
WORLD = ["10.77.0.0/16", "fd77::/64"]


def address(host, family):
    return getattr(host, family)


def config(authority, spiffe_id):
    return {
        "identity": identity(authority.issue(spiffe_id.rsplit("/", 1)[1], spiffe_id)),
        "trust_bundles": bundles(authority),
        "inbound_ports": [{"port": 8081, "mode": "PERMISSIVE"}],
        "policies": [allow("shop-may-pay", WEB, API)],
        "destinations": [{"name": "all", "addresses": WORLD, "ports": [8080], "mode": "MTLS", "identities": [API]},
                         {"name": "open", "addresses": WORLD, "ports": [9997], "mode": "PLAINTEXT"}],
        "settings": {"interception": {}, "drain_seconds": 1},
    }


def plain_echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


def reset_at_once(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.fixture(scope="module")
def mesh(authority, network):
    """shop and payments behind sidecars, lobby in the open. Every address of payments serves 8080 and 8081."""
    with contextlib.ExitStack() as stack:
        services = {}
        for family in FAMILIES:
            for port in (8080, 8081, 9000):
                where = (address(network["payments"], family), port)
                services[where] = Service(plain_echo, address=where, netns=network["payments"])
                stack.callback(services[where].close)
        agents = {}
        for name, spiffe_id in (("shop", WEB), ("payments", API)):
            agents[name] = Agent(name, config(authority, spiffe_id), netns=network[name])
            stack.callback(agents[name].close)
            network[name].run(*ctl("intercept", "up", "--exclude-inbound-ports", "9000"))
        yield SimpleNamespace(shop=agents["shop"], payments=agents["payments"], services=services, net=network)
        for name in agents:
            network[name].run(*ctl("intercept", "down"))


def ctl(*arguments):
    return [PROGRAMS["tabardctl"], *arguments]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_that_knows_nothing_calls_another_over_mutual_tls(mesh, family):
    payments = address(mesh.net["payments"], family)
    mark_shop, mark_payments = mesh.shop.mark(), mesh.payments.mark()
    with connect((payments, 8080), mesh.net["shop"]) as sock:
        assert exchange(sock, b"hello") == b"hello"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    out = mesh.shop.wait_conn(mark_shop, dir="outbound", reason="finished")
    assert (out["dst"], out["peer"]) == (join_address(payments, 8080), API)
    inside = mesh.payments.wait_conn(mark_payments, dir="inbound", reason="finished")
    assert (inside["dst"], inside["peer"], inside["rule"]) == (join_address(payments, 8080), WEB, "shop-may-pay#0")
    assert inside["src"].startswith(address(mesh.net["shop"], family) if family == "ipv4" else "[fd77::1:1]")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_original_destination_is_kept(mesh, family):
    """Two ports of one host, both caught by the same listener, end at their own service."""
    payments = address(mesh.net["payments"], family)
    before = mesh.services[(payments, 8080)].num_connections, mesh.services[(payments, 8081)].num_connections
    with connect((payments, 8080), mesh.net["shop"]) as sock:
        assert exchange(sock, b"hello") == b"hello"
    assert is_turned_away((payments, 8081), mesh.net["lobby"], b"hello")  # PERMISSIVE, but no policy lets it in
    after = mesh.services[(payments, 8080)].num_connections, mesh.services[(payments, 8081)].num_connections
    assert (after[0] - before[0], after[1] - before[1]) == (1, 0)


@pytest.fixture
def ranges(mesh):
    """payments serves 8000 to 8999 in plaintext, but for 8080, to anybody of the world; shop calls a range."""
    before = {agent: copy.deepcopy(agent.config) for agent in (mesh.payments, mesh.shop)}
    mesh.payments.config["inbound_ports"] = [{"port": "8000-8999", "mode": "PLAINTEXT"}, {"port": 8080, "mode": "MTLS"}]
    mesh.payments.config["policies"] = [allow("shop-may-pay", WEB, ports=["8070-8080"]),
                                        {"name": "world", "action": "ALLOW", "mode": "ENFORCE", "ports": ["8081-8999"],
                                         "rules": [{"source_ips": WORLD}]}]
    mesh.shop.config["destinations"][0]["ports"] = ["8000-8080", 8443]
    for agent in before:
        agent.apply()
    yield
    for agent, config in before.items():
        agent.config = config
        agent.apply()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_range_of_ports_stands_wherever_a_port_does(mesh, ranges, family):
    payments = address(mesh.net["payments"], family)
    with connect((payments, 8081), mesh.net["lobby"]) as sock:
        assert exchange(sock, b"hello") == b"hello"
    with connect((payments, 8080), mesh.net["shop"]) as sock:
        assert exchange(sock, b"hello") == b"hello"
    mark = mesh.payments.mark()
    assert is_turned_away((payments, 8080), mesh.net["lobby"], b"GET / HTTP/1.0\r\n\r\n")
    mesh.payments.wait_conn(mark, dir="inbound", reason="plaintext_on_mtls")
    mark = mesh.shop.mark()
    assert is_turned_away((payments, 8081), mesh.net["shop"], b"hello")
    mesh.shop.wait_conn(mark, dir="outbound", reason="unlisted_destination")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_caller_without_a_sidecar_is_refused(mesh, family):
    mark = mesh.payments.mark()
    assert is_turned_away((address(mesh.net["payments"], family), 8080), mesh.net["lobby"], b"GET / HTTP/1.0\r\n\r\n")
    mesh.payments.wait_conn(mark, dir="inbound", reason="plaintext_on_mtls")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_listed_id_gets_in_from_outside_and_an_unlisted_one_doesn_t(mesh, authority, family):
    where = (address(mesh.net["payments"], family), 8080)
    assert attempt(where, authority, authority.issue("web", WEB), mesh.net["lobby"]) == b"hello"
    mark = mesh.payments.mark()
    assert attempt(where, authority, authority.issue("stranger", STRANGER), mesh.net["lobby"]) != b"hello"
    assert mesh.payments.wait_conn(mark, dir="inbound", reason="policy_denied")["rule"] == "-"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", [15001, 15006])
@pytest.mark.parametrize("source", ["lobby", "payments"])
def test_a_connection_straight_to_a_sidecar_s_own_listener_is_no_loop(mesh, family, port, source):
    mark = mesh.payments.mark()
    host = address(mesh.net["payments"], family)
    if source == "payments" and port == 15001:
        host = "127.0.0.1" if family == "ipv4" else "::1"
    try:
        with connect((host, port), mesh.net[source]) as sock:
            sock.sendall(b"hello")
            assert is_reset_or_closed(sock)
    except ConnectionError:
        return  # nothing listens there for outsiders: as good
    lines = wait_until("the refusal is logged", lambda: mesh.payments.lines(mark, msg="conn"))
    assert [line["reason"] for line in lines if line["reason"] in ("loop", "not_local", "loopback")], lines
    assert len(lines) == 1, "one connection made several"


@pytest.mark.parametrize("family", FAMILIES)
def test_traffic_for_another_host_that_is_routed_here_is_refused(mesh, authority, family):
    """The lobby sends a packet for a stranger's address this way; the sidecar must not carry it on."""
    stranger, lobby = {"ipv4": "10.99.9.9", "ipv6": "fd99::9"}[family], mesh.net["lobby"]
    lobby.run("ip", "route", "add", stranger, "via", address(mesh.net["payments"], family))
    try:
        mark = mesh.payments.mark()
        assert attempt((stranger, 8080), authority, authority.issue("web", WEB), lobby) != b"hello"
        mesh.payments.wait_conn(mark, dir="inbound", reason="not_local")
    finally:
        lobby.run("ip", "route", "del", stranger)


@contextlib.contextmanager
def local_ports(host, low, high):
    """Ports that the kernel chooses from in a namespace."""
    before = host.run("sysctl", "-n", "net.ipv4.ip_local_port_range").stdout.split()
    host.run("sysctl", "-q", "-w", f"net.ipv4.ip_local_port_range={low} {high}")
    try:
        yield range(low, high + 1)
    finally:
        host.run("sysctl", "-q", "-w", f"net.ipv4.ip_local_port_range={' '.join(before)}")


def connect_from(host, source, to):
    with host.entered():
        sock = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(5)
    try:
        sock.bind(source)
        sock.connect(to)
    except OSError:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_from_which_the_proxy_was_just_reset_is_still_caught(mesh, family):
    """Connection tracking remembers a closed connection for seconds; the service's next one from that port is not that one."""
    shop, own, to = mesh.net["shop"], address(mesh.net["shop"], family), (address(mesh.net["lobby"], family), 9997)
    with local_ports(shop, 40000, 40015) as ports:
        with contextlib.closing(Service(reset_at_once, address=to, netns=mesh.net["lobby"])):
            for source in range(50000, 50040):  # each is reset, and so is what the proxy dialed from one of its few ports
                with contextlib.suppress(OSError), connect_from(shop, (own, source), to) as sock:
                    sock.recv(1)
        with contextlib.closing(Service(plain_echo, address=to, netns=mesh.net["lobby"])):
            before = mesh.shop.metric("tabard_connections_opened_total", direction="outbound")
            called = 0
            for source in ports:
                try:
                    sock = connect_from(shop, (own, source), to)
                except ConnectionResetError:  # by the proxy, at once: none of its few ports is free
                    called += 1
                    continue
                except OSError:  # of a port that the proxy has in use right now
                    continue
                called += 1
                with sock, contextlib.suppress(OSError):
                    assert exchange(sock, b"hello") == b"hello"
            caught = mesh.shop.metric("tabard_connections_opened_total", direction="outbound") - before
    assert caught == called > 2


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unlisted_port_is_denied_outbound(mesh, family):
    mark = mesh.shop.mark()
    assert is_turned_away((address(mesh.net["payments"], family), 9999), mesh.net["shop"])
    line = mesh.shop.wait_conn(mark, dir="outbound", reason="unlisted_destination")
    assert line["dst"] == join_address(address(mesh.net["payments"], family), 9999)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_excluded_port_bypasses_the_sidecar(mesh, family):
    where = (address(mesh.net["payments"], family), 9000)
    mark = mesh.payments.mark()
    with connect(where, mesh.net["lobby"]) as sock:
        assert exchange(sock, b"in the open") == b"in the open"
    assert mesh.payments.lines(mark, msg="conn") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_loopback_is_left_alone(mesh, family):
    host = "127.0.0.1" if family == "ipv4" else "::1"
    service = Service(plain_echo, address=(host, 7777), netns=mesh.net["payments"])
    try:
        mark = mesh.payments.mark()
        with connect((host, 7777), mesh.net["payments"]) as sock:
            assert exchange(sock, b"just us") == b"just us"
        assert mesh.payments.lines(mark, msg="conn") == []
    finally:
        service.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_that_calls_itself_by_its_own_address_is_answered(mesh, family):
    with connect((address(mesh.net["payments"], family), 8080), mesh.net["payments"]) as sock:
        assert exchange(sock, b"is it me?") == b"is it me?"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_to_itself_that_is_caught_is_asked_of_the_own_policy(mesh, family):
    """Our rules leave it alone; other people's (a virtual address that is the service's own) may not."""
    payments = mesh.net["payments"]
    host, ip = address(payments, family), "ip" if family == "ipv4" else "ip6"
    payments.run("nft", "-f", "-", input=f"""
        table inet selfcall {{
            chain out {{
                type nat hook output priority -110
                meta skuid != 1337 {ip} daddr {host} tcp dport 8080-8081 meta l4proto tcp redirect to :15001
            }}
        }}""")
    try:
        mark = mesh.payments.mark()
        with connect((host, 8080), payments) as sock:
            assert exchange(sock, b"it is me") == b"it is me"
        assert mesh.payments.wait_conn(mark, reason="finished")["rule"] == "shop-may-pay#0"
        mark = mesh.payments.mark()
        assert is_turned_away((host, 8081), payments, b"and here?")
        mesh.payments.wait_conn(mark, reason="policy_denied")
    finally:
        payments.run("nft", "delete", "table", "inet", "selfcall")


@pytest.mark.parametrize("family", FAMILIES)
def test_health_and_metrics_are_reached_past_the_interception(mesh, family):
    host = address(mesh.net["payments"], family)
    for port, path in ((15021, "/healthz/ready"), (15020, "/metrics")):
        with connect((host, port), mesh.net["lobby"]) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert b" 200 " in sock.recv(100)


def test_a_host_without_ipv6_is_served_over_ipv4(network, authority, keep):
    host = network["lobby"]
    host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    try:
        agent = keep(Agent("lobby", config(authority, STRANGER), netns=host))
        assert agent.http("health", "/healthz/ready")[0] == 200
        host.run(*ctl("intercept", "up"))
        mark = agent.mark()
        assert is_turned_away((network["payments"].ipv4, 9999), host)
        agent.wait_conn(mark, dir="outbound", reason="unlisted_destination")
    finally:
        host.run(*ctl("intercept", "down"))
        host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
        host.run("ip", "addr", "add", f"{host.ipv6}/64", "dev", "eth0", "nodad")


def test_up_twice_is_up_once_and_down_leaves_nothing(network):
    host = network["lobby"]
    run("tabardctl", "intercept", "up", netns=host)
    once = host.run("nft", "--stateless", "list", "ruleset").stdout  # without what the rules have counted
    assert "table inet tabard" in once
    run("tabardctl", "intercept", "up", netns=host)
    assert host.run("nft", "--stateless", "list", "ruleset").stdout == once
    run("tabardctl", "intercept", "down", netns=host)
    assert host.run("nft", "list", "ruleset").stdout.strip() == ""
    run("tabardctl", "intercept", "down", netns=host)


def test_print_shows_what_up_would_load_and_nft_accepts_it(network):
    text = run("tabardctl", "intercept", "print").stdout
    assert "15001" in text and "15006" in text
    network["lobby"].run("nft", "--check", "--file", "-", input=text)
    assert network["lobby"].run("nft", "list", "ruleset").stdout.strip() == ""


def test_without_cap_net_admin_it_says_what_is_missing(network):
    host = network["lobby"]
    done = subprocess.run(host.command(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *map(str, ctl("intercept", "up"))]),
                          capture_output=True, text=True)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1 and "CAP_NET_ADMIN" in done.stderr, done.stderr
    assert host.run("nft", "list", "ruleset").stdout.strip() == ""


def test_a_second_agent_in_the_namespace_is_refused(mesh, authority, keep):
    second = keep(Agent("second", config(authority, API), netns=mesh.net["payments"], start=False))
    done = run("tabard-agent", "--config", second.folder / "mesh.yaml", "--admin", second.folder / "admin.sock",
               netns=mesh.net["payments"], check=False)
    assert done.returncode == 1 and "in use" in done.stderr
    assert mesh.payments.http("health", "/healthz/ready")[0] == 200
