"""Starts Postgres and Redis before pytest-django reads the settings, and shows what passed only when repeated.

Loaded by `-p tests.plugin`.
"""

from collections.abc import Generator

import pytest

from tests.services import start_services


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    start_services()
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A test that needed a second chance is a fault to be found: its first failure is shown."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"failed once, in {report.when}: {report.nodeid}")
        terminalreporter.line(report.longreprtext)
