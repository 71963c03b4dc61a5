"""With two URLs, Mercato lives on servers of the operator's own and starts none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from portal import embedded
from tests.portal.embedded import debian
from tests.portal.embedded.owners import REPOSITORY


@pytest.fixture
def servers(home: Path) -> Iterator[embedded.Services]:
    with debian.postgres(home) as database_url, debian.redis(home) as redis_url:
        yield embedded.Services(database_url=database_url, redis_url=redis_url)


def test_joining_uses_the_operators_own(
    home: Path, servers: embedded.Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", servers.database_url)
    monkeypatch.setenv("REDIS_URL", servers.redis_url)
    with embedded.joining(home / "var") as services:
        assert services == servers
        with psycopg.connect(services.database_url) as connection:
            assert 150_000 <= connection.info.server_version < 190_000
        assert redis.Redis.from_url(services.redis_url).ping()
    assert not (home / "var").exists()


def test_the_tables_can_be_made_there(home: Path, servers: embedded.Services) -> None:
    urls = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--noinput"],
        cwd=REPOSITORY,
        env=os.environ | urls | {"MERCATO_HOME": str(home / "var")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with psycopg.connect(servers.database_url) as connection:
        (tables,) = connection.execute(
            "select count(*) from pg_tables where schemaname = 'public'"
        ).fetchone()
    assert tables > 10
    assert not (home / "var" / "postgres").exists()
    assert not (home / "var" / "redis").exists()
