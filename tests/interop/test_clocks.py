# SPDX-License-Identifier: Apache-2.0
"""Wall clocks that are set while a sidecar runs, connects and renews: nothing lives longer for it, and what was short comes back."""
import contextlib
import time

import pytest

from policyd_process import Policyd, allow, spiffe, workload
from ca import HOUR, Certificate
from clock import Clock
from foreign import attempt, tls
from mesh import DOMAIN, Agent, Service, exchange, run, wait_until

LIFE = 60
RENEWED = 35  # seconds after which a certificate of that life is renewed
EXPIRY = "tabard_certificate_expiry_timestamp_seconds"


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


class World:
    """A policyd, and one sidecar that follows it by a clock of its own; `web` calls it, as a foreign peer."""

    def __init__(self, stack, *, wall=0, life=LIFE, policyd_clock=None):
        self.clock = Clock(wall)
        stack.callback(self.clock.close)
        self.policyd = Policyd({"workloads": [workload("api", "127.0.0.1/32", certificate_seconds=life), workload("web")],
                                "policies": [allow("web-may", spiffe("api"), spiffe("web"))]},
                               prefix=policyd_clock.prefix if policyd_clock else ())
        stack.callback(self.policyd.close)
        self.roots = self.policyd.folder / "ca/ca.pem"
        token = self.policyd.folder / "join.token"
        token.write_text(self.policyd.token("api", "--minutes", "300"))
        service = Service()
        stack.callback(service.close)
        self.agent = Agent("api", {
            "policy_agent": {"address": "%s:%d" % self.policyd.tcp, "identity": f"spiffe://{DOMAIN}/tabard/policyd",
                             "roots": str(self.roots), "join_token": str(token), "state": "state", "addresses": ["127.0.0.1"]},
            "inbound_ports": [{"port": 8080, "mode": "MTLS", "listen": "127.0.0.1:0", "application": "%s:%d" % service.address}],
        }, prefix=self.clock.prefix, proxy_prefix=self.clock.prefix, start=False)
        stack.callback(self.agent.close)
        self.agent.start(wait=False)
        self.web = Certificate(*self.policyd.issue("web", "--hours", "5"))

    def wait_in_force(self, mark=0, seconds=20):
        self.agent.wait_line(mark, seconds, msg="snapshot in force")

    def address(self):
        return self.agent.address("127.0.0.1:0")

    def call(self, certificate=None):
        return attempt(self.address(), self, certificate or self.web)

    def is_ready(self):
        return self.agent.http("health", "/healthz/ready")[0] == 200

    def times_set(self):
        return [int(line["seconds"]) for line in self.agent.lines(msg="the wall clock was set")]


def is_about(seconds, wanted):
    return abs(seconds - wanted) <= 2


def test_a_clock_that_is_set_back_delays_no_renewal_and_is_told_once(stack):
    world = World(stack)
    world.wait_in_force()
    before = world.agent.metric(EXPIRY)
    world.clock.set_wall(-HOUR)
    wait_until("the agent says that the clock was set", world.times_set)
    mark = world.agent.mark()
    world.clock.elapse(RENEWED)
    world.wait_in_force(mark)
    assert world.agent.metric(EXPIRY) > before
    assert world.is_ready() and world.call() == b"hello"
    (seconds,) = world.times_set()
    assert is_about(seconds, -HOUR)


def test_a_certificate_that_cannot_be_renewed_ends_in_time_though_the_clock_was_set_back(stack):
    world = World(stack)
    world.wait_in_force()
    world.policyd.stop()
    world.clock.set_wall(-HOUR)
    assert world.is_ready()
    mark = world.agent.mark()
    world.clock.elapse(LIFE + 1)
    world.agent.wait_line(mark, msg="the issued certificate has expired")
    wait_until("the sidecar is not ready", lambda: not world.is_ready())
    world.policyd.start()


def test_a_peer_whose_certificate_has_ended_gets_in_by_no_clock_that_is_set_back(stack):
    world = World(stack, life=5 * HOUR)
    world.wait_in_force()
    short = Certificate(*world.policyd.issue("web", "--hours", "1"))
    with tls(world.address(), world, short) as sock:
        assert exchange(sock, b"hello") == b"hello"
        world.clock.elapse(HOUR + 1)
        world.clock.set_wall(-2 * HOUR)
        assert world.call(short) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
        wait_until("the connection ends", lambda: is_over(sock), 40)
    assert world.call() == b"hello" and world.is_ready()


def is_over(sock):
    try:
        return exchange(sock, b"still?") != b"still?"
    except OSError:
        return True


def test_a_clock_that_was_set_forward_for_a_moment_leaves_nothing_behind(stack):
    world = World(stack)
    world.wait_in_force()
    short = Certificate(*world.policyd.issue("web", "--seconds", "1800"))
    world.clock.set_wall(HOUR)
    wait_until("the sidecar is not ready", lambda: not world.is_ready())
    wait_until("the agent says that the clock was set", world.times_set)
    assert world.call(short) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    world.clock.set_wall(0)
    wait_until("the sidecar is ready", world.is_ready, 20)
    wait_until("its caller is served", lambda: world.call(short) == b"hello")
    forward, back = wait_until("both are told", lambda: len(world.times_set()) == 2 and world.times_set())
    assert is_about(forward, HOUR) and is_about(back, -HOUR)


@pytest.mark.parametrize("wall", (HOUR, -HOUR), ids=("ahead", "behind"))
def test_a_sidecar_whose_clock_is_an_hour_off_at_its_start_joins_when_that_is_put_right(stack, wall):
    world = World(stack, wall=wall)
    wait_until("the sidecar has tried", lambda: world.agent.lines(msg="no stream to the policy agent") or
               world.agent.lines(msg="update refused"))
    mark = world.agent.mark()
    world.clock.set_wall(0)
    world.wait_in_force(mark, 40)
    wait_until("its caller is served", lambda: world.call() == b"hello")
    assert world.is_ready()


def test_a_policyd_whose_clock_is_set_forward_takes_no_other_policyd_s_folder_away(stack):
    clock = Clock()
    stack.callback(clock.close)
    first = Policyd({"workloads": []})
    stack.callback(first.close)
    second = Policyd(folder=first.folder, prefix=clock.prefix)
    stack.callback(second.close)
    beats = {path.parent.name: path for path in (first.folder / "registry").glob("*/alive")}
    assert len(beats) == 2
    mark = second.mark()
    clock.set_wall(HOUR)
    second.wait_line(mark, msg="the wall clock was set")
    for path in beats.values():  # each looks at the other's after its own
        for _ in range(2):
            before = path.stat().st_mtime_ns
            wait_until("it beats", lambda: path.stat().st_mtime_ns != before)
    assert not second.lines(mark, msg="another policyd is gone")


@pytest.mark.parametrize("back", (20, HOUR), ids=("less than a certificate lives", "more than a certificate lives"))
def test_a_policyd_whose_clock_is_set_back_issues_nothing_that_lives_too_long_or_is_over(stack, back):
    clock = Clock()
    stack.callback(clock.close)
    world = World(stack, policyd_clock=clock)
    world.wait_in_force()
    clock.elapse(10)
    clock.set_wall(-back)
    mark = world.agent.mark()
    world.clock.elapse(RENEWED)
    heard = world.policyd.mark()
    if back < LIFE:
        world.wait_in_force(mark)
        assert abs(world.agent.metric(EXPIRY) - time.time() - (LIFE + 10 - back)) < 5
    else:
        refused = world.policyd.wait_line(heard, msg="certificate refused")
        assert "wall clock was set back by 36" in refused["error"]
        clock.set_wall(0)
        world.wait_in_force(mark, 40)
    assert world.call() == b"hello"
    world.policyd.wait_line(msg="the wall clock was set")


def test_a_policyd_whose_clock_was_ahead_at_its_start_serves_once_it_is_put_right(stack):
    clock = Clock(365 * 24 * HOUR)
    stack.callback(clock.close)
    world = World(stack, policyd_clock=clock)
    world.agent.wait_line(msg="no stream to the policy agent")
    mark = world.agent.mark()
    clock.set_wall(0)
    world.wait_in_force(mark, 60)
    assert world.agent.metric(EXPIRY) - time.time() < LIFE + 5
    world.web = Certificate(*world.policyd.issue("web", "--hours", "5"))
    assert world.call() == b"hello"


def test_a_clock_that_is_set_back_makes_no_stale_crl_count_when_a_new_certificate_comes(stack):
    world = World(stack, life=96 * HOUR)
    world.wait_in_force()
    mark = world.agent.mark()
    run("tabard-ca", "revoke", "--dir", world.policyd.folder / "ca", "--cert", world.web.chain)  # a list that is fresh for a day
    world.wait_in_force(mark)
    heard, mark = world.policyd.mark(), world.agent.mark()
    world.clock.elapse(54 * HOUR)  # half of the certificate's life is over
    world.clock.set_wall(-40 * HOUR)
    refused = world.policyd.wait_line(heard, 20, msg="refused by sidecar")
    assert "crls[0]: stale" in refused["error"], refused
    assert not world.agent.lines(mark, msg="snapshot in force")
