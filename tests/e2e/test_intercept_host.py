# SPDX-License-Identifier: Apache-2.0
"""What `tabardctl intercept` asks of a host and leaves on it. Root only."""
import contextlib
import socket
import uuid
from pathlib import Path

import pytest

import netns
from mesh import PROGRAMS, run
from netns import Namespace, ip


@pytest.fixture
def host():
    """A namespace with lo, down, and nothing else; another one for the far ends of its wires."""
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    made = Namespace(f"tabard-up-{uuid.uuid4().hex[:8]}", 9)
    with contextlib.ExitStack() as stack:
        for name in (made.name, f"{made.name}-far"):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
        yield made


def prepare(host, *commands):
    """Runs `ip` with each; FAR is the other namespace."""
    batch = "".join(f"{command}\n" for command in commands).replace("FAR", f"{host.name}-far")
    host.run("ip", "-batch", "-", input=f"link set lo up\n{batch}")


def wire(name):
    return [f"link add {name} type veth peer name {name} netns FAR", f"link set {name} up"]


BOTH = ["addr add 10.1.2.3/24 dev eth0", "addr add fd00::3/64 dev eth0 nodad"]


def up(host, *flags):
    return run("tabardctl", "intercept", "up", *flags, netns=host, check=False)


def leftovers(host):
    """What of interception is there: the table, the rules and the routes."""
    routes = [host.run("ip", family, "route", "show", "table", "all", "proto", "133").stdout for family in ("-4", "-6")]
    rules = [line for family in ("-4", "-6") for line in host.run("ip", family, "rule").stdout.splitlines() if "0x539" in line]
    return host.run("nft", "list", "ruleset").stdout.strip(), sorted("".join(routes).splitlines()), rules


REFUSED = {
    "an address on lo, and the interface has none": ([*wire("eth0"), "addr add 10.1.2.3/32 dev lo"], "eth0 has no IPv4 address"),
    "one interface of two has none": ([*wire("eth0"), *BOTH, *wire("eth1")], "eth1 has no IPv4 address"),
    "IPv6 on lo, and the interface has not even a link-local one":
        ([wire("eth0")[0], "link set eth0 addrgenmode none up", "addr add 10.1.2.3/24 dev eth0", "addr add fd00::3/128 dev lo"], "eth0 has no IPv6 address"),
    "a block that a route makes this host's": ([*wire("eth0"), BOTH[1], "route add local 203.0.113.0/24 dev lo"], "eth0 has no IPv4 address"),
    "a tunnel": ([*wire("eth0"), *BOTH, "link add tun0 type vxlan id 4 dev eth0 dstport 4789", "link set tun0 up"], "tun0 has no IPv4 address"),
}
TAKEN = {
    "both families": [*wire("eth0"), *BOTH],
    "IPv4 alone": [*wire("eth0"), BOTH[0]],
    "IPv6 alone": [*wire("eth0"), BOTH[1]],
    "nothing but lo": [],
    "an interface that is down": [*wire("eth0"), *BOTH, wire("eth1")[0]],
    "a bridge with a part that has no address": ["link add br0 type bridge", "link set br0 up", "addr add 10.1.2.3/24 dev br0",
                                                 *wire("eth0"), "link set eth0 master br0"],
    "a point-to-point address": [*wire("eth0"), "addr add 10.1.2.3 peer 10.1.2.4 dev eth0"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_host_on_which_connections_would_be_lost_is_refused_with_the_reason(host, case):
    commands, why = REFUSED[case]
    prepare(host, *commands)
    done = up(host)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
    assert why in done.stderr
    assert leftovers(host) == ("", [], [])
    name = done.stderr.split("--exclude-inbound-interfaces ")[1].split()[0].rstrip(".")
    assert up(host, "--exclude-inbound-interfaces", name).returncode == 0
    assert f'iifname "{name}" counter' in leftovers(host)[0]


@pytest.mark.parametrize("case", TAKEN)
def test_a_host_on_which_every_redirection_works_is_taken(host, case):
    prepare(host, *TAKEN[case])
    done = up(host)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interface_whose_ipv6_is_turned_off_needs_no_address_of_it(host):
    prepare(host, *wire("eth0"), BOTH[0], "addr add fd00::3/128 dev lo")
    host.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")
    assert up(host).returncode == 0


def test_a_host_whose_loopback_is_down_is_refused(host):
    prepare(host, *wire("eth0"), BOTH[0], "link set lo down")
    done = up(host)
    assert done.returncode == 1 and "lo is down" in done.stderr and "ip link set lo up" in done.stderr
    assert leftovers(host) == ("", [], [])


def test_routes_come_and_go_with_the_table_and_with_the_flags_that_want_them(host):
    prepare(host, *wire("eth0"), *BOTH)
    host.run("ip", "-6", "route", "add", "local", "fd00:7::/64", "dev", "lo")  # somebody else's
    assert up(host).returncode == 0
    plain = leftovers(host)
    assert plain[1:] == (["local ::6 dev lo table local metric 1024 pref medium", "local fe80::6 dev eth0 table local metric 1024 pref medium"], [])
    flags = ["--caller-addresses", "--service-sources", "198.51.100.6,fd00:6::6,127.0.0.9"]
    assert up(host, *flags).returncode == 0
    more = leftovers(host)
    assert len(more[1]) == 7 and len(more[2]) == 2, more
    assert up(host, *flags).returncode == 0
    assert leftovers(host) == more
    assert up(host).returncode == 0
    assert leftovers(host) == plain
    run("tabardctl", "intercept", "down", netns=host)
    assert leftovers(host) == ("", [], [])
    assert "fd00:7::/64" in host.run("ip", "-6", "route", "show", "table", "local").stdout


def test_every_interface_with_ipv6_has_its_route_for_link_local_callers(host):
    prepare(host, *wire("eth0"), *BOTH, *wire("eth1"), "addr add 10.4.5.6/24 dev eth1", "addr add fd00:4::6/64 dev eth1 nodad")
    assert up(host, "--caller-addresses").returncode == 0
    routes = leftovers(host)[1]
    for name in ("eth0", "eth1"):
        assert sum(route.startswith(("local fe80::6 ", "local fe80::/10 ")) and f"dev {name} " in route for route in routes) == 2, routes


def test_print_shows_the_commands_that_make_the_same_routes(host):
    prepare(host, *wire("eth0"), *BOTH)
    flags = ["--caller-addresses", "--service-sources", "198.51.100.6,fd00:6::6,127.0.0.9"]
    assert up(host, *flags).returncode == 0
    by_up = leftovers(host)
    run("tabardctl", "intercept", "down", netns=host)
    text = run("tabardctl", "intercept", "print", *flags).stdout
    host.run("nft", "-f", "-", input=text)
    for line in text.splitlines():
        if line.startswith("#   ip "):
            host.run(*line.removeprefix("#   ").replace("INTERFACE", "eth0").split())
    assert leftovers(host) == by_up


@pytest.mark.parametrize("flags, why", [
    (["--service-sources", "10.0.0.0/8"], '"10.0.0.0/8" is not an IP address'),
    (["--service-sources", "fe80::1%eth0"], "has a zone"),
    (["--exclude-inbound-interfaces", "eth0/1"], '"eth0/1" is not the name of an interface'),
])
def test_a_wrong_list_is_named(host, flags, why):
    done = up(host, *flags)
    assert done.returncode == 2 and why in done.stderr
    with contextlib.suppress(ValueError):
        assert leftovers(host) == ("", [], [])

def verify(host, *flags, as_user=()):
    return host.run(*as_user, PROGRAMS["tabardctl"], "intercept", "verify", *flags, check=False)


ROUTES = ["route add default via 10.1.2.1", "route add default via fd00::1"]
CAUGHT = ("the rules in the kernel are those of these flags\n"
          "IPv4: a call to 192.0.2.1:1 came to port 15001\n"
          "IPv6: a call to [2001:db8::1]:1 came to port 15001\n")


def test_verify_shows_that_the_rules_hold_and_that_calls_of_both_families_are_redirected(host):
    prepare(host, *wire("eth0"), *BOTH, *ROUTES)
    done = up(host, "--verify")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", CAUGHT)
    assert "tabard_expected" not in leftovers(host)[0]
    flags = ["--exclude-outbound-ports", "1-2000", "--include-outbound-cidrs", "10.9.0.0/16", "--exclude-inbound-ports", "22"]
    done = up(host, "--verify", *flags)
    assert done.stdout.splitlines()[1:] == ["IPv4: no call is to be redirected", "IPv6: no call is to be redirected"], done.stderr
    flags = ["--include-outbound-ports", "8443", "--include-outbound-cidrs", "10.9.0.0/16"]
    done = up(host, "--verify", *flags)
    assert done.stdout.splitlines()[1:] == ["IPv4: a call to 10.9.0.1:8443 came to port 15001", "IPv6: no call is to be redirected"], done.stderr


def test_verify_is_content_where_a_family_leads_nowhere(host):
    prepare(host, *wire("eth0"), BOTH[0])
    done = up(host, "--verify")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["IPv4: no route leads out", "IPv6: this host has no address"])


def test_verify_takes_the_sidecar_s_own_answer(host):
    prepare(host, *wire("eth0"), *BOTH, *ROUTES)
    up(host)
    with host.entered(), socket.create_server(("127.0.0.1", 15001)), socket.create_server(("::1", 15001), family=socket.AF_INET6):
        done = verify(host)
    assert (done.returncode, done.stdout) == (0, CAUGHT), done.stderr


TCP = "tcp" if Path("/etc/protocols").exists() else "6"  # as nftables says it; Debian's smallest system has no such file
BROKEN = {
    "no table": ("delete table inet tabard", "there is no table inet tabard"),
    "a rule is missing": ("flush chain inet tabard outbound", 'where "ip daddr 127.0.0.133 udp dport 133 drop" is expected'),
    "a rule more": ("insert rule inet tabard left_alone tcp dport 25 accept", f'it has "tcp dport 25 accept", where "meta l4proto != {TCP} accept"'),
    "the table is put to sleep": ("add table inet tabard { flags dormant; }", 'it has "flags dormant"'),
    "a chain more": ("add chain inet tabard z", "the rules in the kernel are not those of these flags"),
    "another port": ("flush chain inet tabard outbound; add rule inet tabard outbound ip daddr 127.0.0.133 udp dport 133 drop; "
                     "add rule inet tabard outbound jump left_alone; "
                     "add rule inet tabard outbound meta l4proto tcp counter redirect to :15002", 'counter redirect to :15002", where'),
    "somebody else's redirection comes first": (
        "add table inet other; add chain inet other out { type nat hook output priority -150; }; "
        "add rule inet other out meta l4proto tcp redirect to :9", "a call to 192.0.2.1:1 was not redirected: Connection refused"),
    "somebody else drops it": (
        "add table inet other; add chain inet other out { type filter hook output priority 0; }; "
        "add rule inet other out meta l4proto tcp ip6 daddr ::1 drop", "a call to [2001:db8::1]:1 was not redirected: Connection timed out"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_verify_fails_with_the_reason_where_interception_does_not_hold(host, case):
    commands, why = BROKEN[case]
    prepare(host, *wire("eth0"), *BOTH, *ROUTES)
    up(host)
    host.run("nft", commands)
    done = verify(host)
    assert done.returncode == 1 and why in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert "tabard_expected" not in leftovers(host)[0]


def test_verify_fails_with_other_flags_than_those_in_force_and_as_a_user_who_is_exempt(host):
    prepare(host, *wire("eth0"), *BOTH, *ROUTES)
    up(host)
    assert "the rules in the kernel are not those of these flags" in verify(host, "--exclude-inbound-ports", "22").stderr
    done = verify(host, as_user=["setpriv", "--reuid", "1337", "--clear-groups"])
    assert done.returncode == 1 and "calls of user 1337 are not redirected: run this as another user" in done.stderr


def test_up_and_verify_leave_the_rules_in_place_where_they_do_not_hold(host):
    """So that a program which starts all the same gets nowhere, rather than out."""
    prepare(host, *wire("eth0"), *BOTH, *ROUTES)
    host.run("nft", BROKEN["somebody else's redirection comes first"][0])
    done = up(host, "--verify")
    assert done.returncode == 1 and "intercept verify: a call to 192.0.2.1:1 was not redirected" in done.stderr
    assert "table inet tabard " in leftovers(host)[0]
