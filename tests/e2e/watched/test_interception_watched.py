# SPDX-License-Identifier: Apache-2.0
"""The rules and routes that catch traffic are watched: whoever takes them away, the sidecar knows, says so, and puts them back. Root only."""
import contextlib
import fcntl
import signal
import time
from pathlib import Path

import pytest

from listed_metrics import listed, shown
from mesh import connect, run, wait_until
from watched_host import UNPRIVILEGED, host  # noqa: F401 (a fixture)

LOST, BACK = "interception lost", "interception is back"


def lost_times(host):
    return int(host.state().get("losses", 0))


def test_rules_that_somebody_flushes_are_back_within_a_second_and_it_is_said_and_counted(host):
    agent = host.start()
    before, mark = host.ruleset(), agent.mark()
    assert host.catches() and agent.metric("tabard_interception_up") == 1
    host.nft("flush", "ruleset")
    host.wait_counted("put_back", 1, seconds=1)
    assert host.ruleset() == before and host.catches() and host.ready()[0] == 200
    lost, back = agent.wait_line(mark, msg=LOST), agent.wait_line(mark, msg=BACK)
    assert (lost["level"], lost["error"], lost["put_back"]) == ("error", "there is no table inet tabard", "yes")
    assert back["put_back"] == "yes" and int(back["lost_ms"]) < 1000
    assert [agent.metric(f"tabard_interception_{name}") for name in ("up", "losses_total", "put_back_total")] == [1, 1, 1]
    shown_by_ctl = run("tabardctl", "status", "--admin", agent.folder / "admin.sock").stdout
    assert "interception: holds" in shown_by_ctl and "lost 1 times" in shown_by_ctl, shown_by_ctl


def test_the_metrics_are_those_that_are_listed(host):
    host.start()
    text = host.agent.http("metrics", "/metrics")[1]
    watched = listed("tabard-agent with interception")
    assert watched.items() <= shown(text).items() <= (watched | listed("tabard-agent", "tabard-proxy")).items()


TAKEN = {
    "the table": "delete table inet tabard",
    "a chain": "delete chain inet tabard inbound",
    "the rules of a chain": "flush chain inet tabard outbound",
    "everything that is in the table": "flush table inet tabard",
    "one rule more, which lets all callers in": "insert rule inet tabard inbound accept",
    "one rule more, which lets all calls out": "insert rule inet tabard left_alone accept",
    "a chain that is put to sleep": "add table inet tabard { flags dormant; }",
}


@pytest.mark.parametrize("what", TAKEN)
def test_whatever_of_the_table_somebody_changes_is_put_back(host, what):
    host.start()
    before = host.ruleset()
    host.nft(TAKEN[what])
    host.wait_counted("put_back", 1)
    assert host.ruleset() == before and host.catches()


def test_one_rule_that_somebody_deletes_is_put_back(host):
    host.start()
    before = host.ruleset()
    listing = host.netns.run("nft", "-a", "list", "chain", "inet", "tabard", "inbound").stdout
    handle = [line.rsplit(" ", 1)[1] for line in listing.splitlines() if "redirect" in line][0]
    host.nft("delete", "rule", "inet", "tabard", "inbound", "handle", handle)
    host.wait_counted("put_back", 1)
    assert host.ruleset() == before and host.catches()


def turn_of(netns):
    """The file by which tabardctl tells that an `up` or `down` of a network namespace is under way (control/intercept/record.h)."""
    cookie = netns.run("python3", "-c", "import socket; s = socket.socket(); print(int.from_bytes(s.getsockopt(1, 71, 8), 'little'))").stdout
    return Path(f"/run/tabard-interception/{cookie.strip()}.lock")


@contextlib.contextmanager
def half_made(host):
    """What an `up` has made that has routes and no rules yet, and goes on; it may be made whole meanwhile."""
    turn_of(host.netns).parent.mkdir(mode=0o700, exist_ok=True)
    with open(turn_of(host.netns), "w") as turn:
        fcntl.lockf(turn, fcntl.LOCK_EX)
        host.netns.run("ip", "route", "add", "local", "198.51.100.6", "dev", "lo", "table", "local", "proto", "133")
        yield


def test_what_an_up_that_is_under_way_has_half_made_is_no_loss(host):
    host.start(up=False)
    host.wait_state("not up yet")
    with half_made(host):
        run("tabardctl", "intercept", "up", netns=host.netns)  # it waits a second for the other one, in which the agent looks
    host.wait_state("holds")
    assert lost_times(host) == 0 and not host.agent.lines(msg=LOST)


def test_an_up_that_does_not_end_hides_a_loss_for_some_seconds_only(host):
    host.start(up=False)
    host.wait_state("not up yet")
    begun = time.monotonic()
    with half_made(host):
        host.agent.wait_line(msg=LOST)
    assert 4 < time.monotonic() - begun < 10


ROUTES = {
    "the sidecar's own address": ["ip", "-6", "route", "del", "local", "::6", "dev", "lo", "table", "local"],
    "a source of its calls": ["ip", "route", "del", "local", "198.51.100.6", "dev", "lo", "table", "local"],
    "the rule for answers to callers": ["ip", "rule", "del", "pref", "133"],
    "the same of IPv6": ["ip", "-6", "rule", "del", "pref", "133"],
    "the table that it leads to": ["ip", "route", "del", "local", "default", "dev", "lo", "table", "133"],
}


@pytest.mark.parametrize("what", ROUTES)
def test_a_route_that_somebody_deletes_is_put_back(host, what):
    host.start("--caller-addresses", "--service-sources", "198.51.100.6")
    before = host.routes()
    host.netns.run(*ROUTES[what])
    host.wait_counted("put_back", 1)
    assert host.routes() == before and lost_times(host) == 1


def test_while_loopback_is_down_it_is_not_ready_and_afterwards_the_routes_are_back(host):
    host.start()
    before = host.routes()
    host.netns.run("ip", "link", "set", "lo", "down")
    assert "lo is down" in host.wait_state("lost")["why"]
    assert run("tabardctl", "status", "--admin", host.agent.folder / "admin.sock", check=False).returncode == 1
    host.netns.run("ip", "link", "set", "lo", "up")
    host.wait_state("holds", seconds=12)  # it was tried again less and less often
    assert host.routes() == before and host.catches()


def test_an_interface_that_goes_and_comes_is_no_loss_and_has_its_route_again(host):
    host.start()
    before = host.routes()
    host.netns.run("ip", "link", "add", "more", "type", "veth", "peer", "name", "other")
    for name in ("other", "more"):
        host.netns.run("ip", "link", "set", name, "up")
    wait_until(f"the route of the new interface is there: {host.routes()}", lambda: any("dev more" in line for line in host.routes()))
    host.netns.run("ip", "link", "del", "more")
    wait_until("it is gone", lambda: host.routes() == before)
    assert lost_times(host) == 0 and host.state()["state"] == "holds"


def test_tables_of_others_that_accept_everything_before_let_nothing_pass(host):
    host.start()
    host.nft("add table inet fw; add chain inet fw in { type filter hook prerouting priority -350; policy accept; }; add rule inet fw in accept; "
             "add chain inet fw out { type nat hook output priority -150; policy accept; }; add rule inet fw out accept")
    assert host.catches() and lost_times(host) == 0 and host.ready()[0] == 200


def test_a_table_that_takes_connections_from_tracking_is_noticed_and_named(host):
    host.start()
    host.nft("add table inet fw; add chain inet fw raw { type filter hook output priority -310; policy accept; }; add rule inet fw raw notrack")
    assert "keep connections from it" in host.wait_state("lost", seconds=1)["why"]
    assert host.ready()[0] == 503
    host.nft("delete", "table", "inet", "fw")
    host.wait_state("holds", seconds=12)
    assert host.catches()


def test_a_firewall_that_drops_lets_nothing_pass_and_is_left_alone(host):
    host.start()
    host.nft("add table inet fw; add chain inet fw in { type filter hook input priority 0; policy drop; }; "
             "add rule inet fw in iifname lo accept; add rule inet fw in tcp dport 8080 accept")
    with pytest.raises(OSError):
        connect((host.netns.ipv4, 8080), host.stranger, 1).close()
    assert "table inet fw" in host.ruleset() and host.state()["state"] == "holds"


def test_rules_that_are_flushed_again_and_again_are_put_back_without_a_storm(host):
    host.start()
    before, mark = host.ruleset(), host.agent.mark()
    used = cpu_seconds(host.agent)
    deadline, times = time.monotonic() + 3, 0
    while time.monotonic() < deadline:
        host.nft("flush", "ruleset")
        times += 1
    assert times > 50
    host.wait_state("holds", seconds=10)
    assert host.ruleset() == before and host.catches()
    assert int(host.state()["put_back"]) < 15, host.state()
    assert len(host.agent.lines(mark, msg=LOST)) <= 2 and len(host.agent.lines(mark, msg=BACK)) <= 2
    assert cpu_seconds(host.agent) - used < 1


def cpu_seconds(agent):
    with open(f"/proc/{agent.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_what_an_operator_takes_down_stays_down_and_is_said(host):
    agent = host.start()
    mark = agent.mark()
    run("tabardctl", "intercept", "down", netns=host.netns)
    host.wait_state("taken down")
    assert "tabardctl intercept down" in host.ready()[1] and agent.metric("tabard_interception_up") == 0
    assert agent.wait_line(mark, msg="interception was taken down by tabardctl")["level"] == "warn"
    host.nft("add", "table", "inet", "fw")  # somebody is at work; nothing comes back by that
    assert host.passes() and host.state()["state"] == "taken down" and "tabard" not in host.ruleset()
    host.up()
    assert host.ready()[0] == 200 and host.catches() and lost_times(host) == 0


def test_other_flags_of_an_operator_are_no_loss_and_are_what_is_put_back(host):
    host.start()
    host.up("--exclude-inbound-ports", "8080")
    wait_until("the port is left alone", host.passes)
    excluding = host.ruleset()
    assert "15020-15021, 8080" in excluding or "8080, 15020-15021" in excluding
    assert lost_times(host) == 0
    host.nft("flush", "ruleset")
    host.wait_counted("put_back", 1)
    assert host.ruleset() == excluding


def test_an_agent_that_starts_after_the_rules_are_gone_puts_them_back(host):
    host.start()
    before = host.ruleset()
    host.agent.close()
    host.nft("flush", "ruleset")
    agent = host.start(up=False)
    host.wait_counted("put_back", 1)
    assert host.ruleset() == before and host.catches() and agent.metric("tabard_interception_losses_total") == 1


def test_an_agent_that_starts_before_up_is_ready_and_says_that_it_waits(host):
    agent = host.start(up=False)
    assert host.ready()[0] == 200 and host.state()["state"] == "not up yet" and agent.metric("tabard_interception_up") == 0
    assert agent.wait_line(msg="interception is not up yet")["hint"] == "tabardctl intercept up"
    assert "tabard" not in host.ruleset()


def test_rules_that_lead_to_other_ports_are_not_this_sidecar_s_and_are_left_alone(host):
    host.config["settings"]["interception"] = {"outbound_port": 16001, "inbound_port": 16006}
    agent = host.start(up=False)
    run("tabardctl", "intercept", "up", netns=host.netns)
    before = host.ruleset()
    wait_until("it says where they don't lead", lambda: "16001 and 16006" in host.state().get("why", ""))
    assert host.state()["state"] == "not up yet" and agent.metric("tabard_interception_up") == 0
    host.nft("delete", "table", "inet", "tabard")
    wait_until("it says that they are gone", lambda: "no table" in host.state()["why"])
    assert "tabard" not in host.ruleset() and "redirect to :15001" in before


def test_an_agent_that_was_stopped_meanwhile_finds_out_as_soon_as_it_goes_on(host):
    agent = host.start()
    before = host.ruleset()
    agent.process.send_signal(signal.SIGSTOP)
    try:
        host.nft("flush", "ruleset")
        assert host.passes() and host.passes()
    finally:
        agent.process.send_signal(signal.SIGCONT)
    host.wait_counted("put_back", 1, seconds=1)
    assert host.ruleset() == before and host.catches()
    assert int(host.state()["opened_while_lost"]) >= 2


def test_more_changes_than_the_kernel_can_tell_of_make_it_look_again(host):
    agent = host.start()
    before = host.ruleset()
    agent.process.send_signal(signal.SIGSTOP)
    try:
        host.nft("add table inet fw; add set inet fw many { type ipv4_addr; }")
        for part in range(12):
            elements = ", ".join(f"10.{part}.{number >> 8}.{number & 255}" for number in range(4000))
            host.netns.run("nft", "-f", "-", input=f"add element inet fw many {{ {elements} }}\n")
        host.nft("delete", "table", "inet", "tabard")
        host.nft("delete", "table", "inet", "fw")
        drops = dropped_notices(host)
    finally:
        agent.process.send_signal(signal.SIGCONT)
    assert drops > 0, "the kernel had room for all notices"
    host.wait_counted("put_back", 1)
    assert host.ruleset() == before
    # And it still hears: nothing else would tell it that the inbound chain is empty.
    host.nft("flush", "chain", "inet", "tabard", "inbound")
    host.wait_counted("put_back", 2)
    assert host.ruleset() == before


def dropped_notices(host):
    lines = host.netns.run("cat", "/proc/net/netlink").stdout.splitlines()
    return sum(int(line.split()[8]) for line in lines[1:] if line.split()[1] == "12")


def test_rules_that_nobody_recorded_are_watched_and_not_put_back(host):
    agent = host.start(up=False)
    host.netns.run("nft", "-f", "-", input=run("tabardctl", "intercept", "print").stdout)
    host.wait_state("holds")
    mark = agent.mark()
    host.nft("flush", "ruleset")
    host.wait_state("lost", seconds=1)
    assert host.ready()[0] == 503 and "no table inet tabard" in host.ready()[1]
    assert agent.wait_line(mark, msg=LOST)["put_back"].startswith("no")
    assert agent.metric("tabard_interception_up") == 0


def test_rules_of_an_older_up_hold_although_they_lack_the_rule_of_the_self_check(host):
    host.start(up=False)
    text = run("tabardctl", "intercept", "print").stdout
    older = "".join(line for line in text.splitlines(keepends=True) if "127.0.0.133" not in line)
    assert len(older) < len(text)
    host.netns.run("nft", "-f", "-", input=older)
    host.wait_state("holds")
    mark = host.agent.mark()
    host.nft("delete", "table", "inet", "tabard")
    assert host.agent.wait_line(mark, seconds=1, msg=LOST)["error"] == "there is no table inet tabard"


def test_an_agent_without_the_capability_notices_within_a_second_and_is_not_ready_until_they_are_back(host):
    """As in a pod, where an init container makes the rules: the sidecar may neither read nor change them."""
    agent = host.start(prefix=UNPRIVILEGED)
    mark = agent.mark()
    assert host.ready()[0] == 200 and host.state()["state"] == "holds"
    host.nft("flush", "ruleset")
    host.wait_state("lost", seconds=1)
    assert host.passes() and host.passes()
    status, why = host.ready()
    assert status == 503 and "interception is lost" in why
    assert "CAP_NET_ADMIN" in agent.wait_line(mark, msg=LOST)["put_back"]
    assert agent.metric("tabard_interception_opened_while_lost_total") >= 2
    run("tabardctl", "intercept", "up", netns=host.netns)
    host.wait_state("holds")
    assert host.ready()[0] == 200 and host.catches() and len(agent.lines(mark, msg=BACK)) == 1


def test_an_agent_without_the_capability_that_starts_after_the_rules_are_gone_knows_by_the_routes(host):
    host.start(prefix=UNPRIVILEGED)
    host.agent.close()
    host.nft("flush", "ruleset")
    host.start(up=False, prefix=UNPRIVILEGED)
    host.wait_state("lost")
    assert host.ready()[0] == 503
