# SPDX-License-Identifier: Apache-2.0
"""Every skip is named with its reason, in a line that ./dev test shows."""


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"SKIPPED {report.nodeid.split('::')[-1]}: {report.longrepr[2].removeprefix('Skipped: ')}")
