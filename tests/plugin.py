"""Starts Postgres and Redis before pytest-django reads the settings. Loaded by `-p tests.plugin`."""

from collections.abc import Generator

import pytest

from tests.services import start_services


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    start_services()
    return (yield)
