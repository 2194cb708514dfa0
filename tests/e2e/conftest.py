# SPDX-License-Identifier: Apache-2.0
"""Fixtures, and the programs' logs under every failed test."""
import signal

import pytest

import netns
from ca import Authority
from mesh import DOMAIN, Agent, Service, wait_until
from pair import Pair

def pytest_configure():
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("stopped by SIGTERM"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for agent in Agent.alive:
            text = agent.log()
            if text:
                report.sections.append((f"{agent.name} logged", text[-3000:]))


@pytest.fixture(autouse=True)
def no_bug_report():
    """A sanitizer's report in a program's log fails the test in or before which that program was closed."""
    yield
    reports, Agent.reports = Agent.reports, []
    assert reports == [], "\n".join(reports)


def pytest_sessionfinish(session):
    if Agent.reports:
        print("\n".join(Agent.reports))
        session.exitstatus = 1


@pytest.fixture(scope="session")
def authority():
    made = Authority(DOMAIN)
    yield made
    made.close()


@pytest.fixture(scope="session")
def other_authority():
    """Another trust domain, which nobody here trusts."""
    made = Authority("other.example")
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(authority):
    """A pair that the tests of a module share: they leave its configuration as they found it."""
    made = Pair(authority)
    yield made
    try:
        for agent in made.agents():
            assert_nothing_is_left(agent)
    finally:
        made.close()


def assert_nothing_is_left(agent):
    """A sidecar whose connections have all ended holds nothing for them."""
    for name in ("tabard_connections_open", "tabard_handshakes_in_flight", "tabard_buffer_bytes"):
        wait_until(f"{agent.name} has {name} 0", lambda: agent.metric(name) == 0)


@pytest.fixture
def keep():
    """keep(thing) closes the thing at the end of the test."""
    kept = []

    def keep_one(thing):
        kept.append(thing)
        return thing

    yield keep_one
    for thing in reversed(kept):
        thing.close()


@pytest.fixture
def service(keep):
    return keep(Service())


@pytest.fixture(scope="session")
def network():
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    made = netns.Network("tabard-e2e", ["shop", "payments", "lobby"])
    yield made
    made.close()
