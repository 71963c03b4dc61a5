"""Other processes that own a home."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from portal.embedded.account import Account
from tests.portal.embedded.owners import Owner, await_end, launch_owner


@pytest.fixture
def own() -> Iterator[Callable[..., Owner]]:
    """Start an owner and wait for its services: `own(home, account=None)`."""
    started: list[subprocess.Popen[str]] = []
    servers: list[psutil.Process] = []

    def start(home: Path, *, account: Account | None = None) -> Owner:
        process = launch_owner(home, account=account)
        started.append(process)
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the owner did not start: {process.communicate()[1]}")
        facts = json.loads(line)
        owner = Owner(process, database_url=facts["database"], redis_url=facts["redis"])
        servers.extend(owner.servers())
        return owner

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)
    await_end(servers)
