"""What is left after a SIGKILL: no process, no lost write, and a home that starts again."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from portal import embedded
from portal.embedded.server import runs
from tests.portal.embedded.owners import Owner, await_end, launch_owner


def test_a_killed_owner_leaves_no_server_running(home: Path, own: Callable[..., Owner]) -> None:
    servers = own(home).kill()
    assert len(servers) > 2
    assert not await_end(servers)


def test_a_killed_owner_loses_no_acknowledged_write(home: Path, own: Callable[..., Owner]) -> None:
    owner = own(home)
    with psycopg.connect(owner.database_url, autocommit=True) as connection:
        connection.execute("create table kept (n int)")
        client = redis.Redis.from_url(owner.redis_url)
        for number in range(200):
            connection.execute("insert into kept values (%s)", [number])
            client.rpush("kept", number)
        servers = owner.kill()
    with embedded.running(home) as services:
        assert not [server for server in servers if runs(server)]
        with psycopg.connect(services.database_url) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (200,)
        assert redis.Redis.from_url(services.redis_url).llen("kept") == 200


def test_servers_killed_with_their_owner_lose_no_acknowledged_write(
    home: Path, own: Callable[..., Owner]
) -> None:
    owner = own(home)
    client = redis.Redis.from_url(owner.redis_url)
    for number in range(1000):
        client.xadd("usage", {"n": number})
    for server in owner.servers():
        with contextlib.suppress(psutil.NoSuchProcess):
            server.kill()
    owner.kill()
    with embedded.running(home) as services:
        assert redis.Redis.from_url(services.redis_url).xlen("usage") == 1000


def test_the_next_owner_waits_for_a_slow_survivor(home: Path, own: Callable[..., Owner]) -> None:
    owner = own(home)
    redis.Redis.from_url(owner.redis_url).set("kept", "still here")
    survivor = next(server for server in owner.servers() if server.name() == "redis-server")
    survivor.suspend()
    owner.kill()
    began = time.monotonic()
    threading.Timer(1.0, survivor.resume).start()
    with embedded.running(home) as services:
        assert time.monotonic() - began >= 1
        assert not runs(survivor)
        assert redis.Redis.from_url(services.redis_url).get("kept") == b"still here"


@pytest.mark.parametrize("moment_s", [0.35, 0.6, 0.9])
def test_a_first_start_killed_half_way_is_made_good(home: Path, moment_s: float) -> None:
    owner = launch_owner(home)
    time.sleep(moment_s)
    owner.kill()
    owner.communicate()
    with (
        embedded.running(home) as services,
        psycopg.connect(services.database_url) as connection,
    ):
        assert connection.execute("select 1").fetchone() == (1,)
    assert not list(home.glob("*.partial-*"))


def test_half_a_database_is_never_taken_for_a_whole_one(home: Path) -> None:
    half = home / "postgres.partial-x"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with embedded.running(home) as services:
        assert services.database_url
    assert not half.exists()


def test_a_process_id_taken_by_another_program_is_no_obstacle(home: Path) -> None:
    with embedded.running(home):
        written = (home / "postgres" / "postmaster.pid").read_text()
    _, rest = written.split("\n", 1)
    stranger = os.getppid()
    (home / "postgres" / "postmaster.pid").write_text(f"{stranger}\n{rest}")
    with embedded.running(home) as services:
        assert psycopg.connect(services.database_url).closed is False
