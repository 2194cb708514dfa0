# SPDX-License-Identifier: Apache-2.0
"""One world for all applications, and the line of counts at the end."""
import pytest

import world as worlds
from mesh import Agent
from netns import why_not

MADE = []


@pytest.fixture(scope="session")
def world():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    made = worlds.World()
    MADE.append(made)
    try:
        made.intercept(True)
        yield made
    finally:
        made.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        report.sections += [(f"{agent.name} logged", agent.log()[-3000:]) for agent in Agent.alive]


def pytest_terminal_summary(terminalreporter):
    for made in MADE:
        terminalreporter.write_line(made.summary())
