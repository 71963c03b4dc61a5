"""The embedded PostgreSQL and Redis: real, private, and as durable as a machine of one's own."""

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from portal import embedded
from portal.embedded.memory import find_memory_bytes
from portal.embedded.server import runs
from tests.portal.embedded.owners import Owner


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone() if cursor.description else None


def test_a_bare_home_gets_postgresql_18_and_a_durable_redis(home: Path) -> None:
    said: list[str] = []
    with embedded.running(home, say=said.append) as services:
        (version,) = ask(services.database_url, "show server_version")
        settings = redis.Redis.from_url(services.redis_url).config_get("*")
    assert version.startswith("18")
    assert said == ["Preparing the embedded PostgreSQL (once)"]
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    assert wanted.items() <= settings.items()


def test_redis_takes_a_quarter_of_the_memory_or_what_it_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    for told in ("", str(100 * 2**20)):
        monkeypatch.setenv("REDIS_MEMORY_BYTES", told)
        with embedded.running(home, database_url="postgresql://elsewhere/db") as services:
            limits.append(int(redis.Redis.from_url(services.redis_url).config_get("maxmemory")["maxmemory"]))
    assert limits == [find_memory_bytes() // 4, 100 * 2**20]
    assert 0 < limits[0] < psutil.virtual_memory().total


def test_a_container_has_the_memory_that_it_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("portal.embedded.memory._LIMITS", (limit,))
    found = []
    for said in ("max\n", "1073741824\n", f"{2**62}\n"):
        limit.write_text(said)
        found.append(find_memory_bytes())
    assert found == [psutil.virtual_memory().total, 2**30, psutil.virtual_memory().total]


def test_the_log_of_a_server_that_runs_on_and_on_is_bounded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.embedded.launch.LOG_LIMIT_BYTES", 200)
    monkeypatch.setattr("portal.embedded.hosting.ROTATE_S", 0.05)
    log, before = home / "logs" / "redis.log", home / "logs" / "redis.log.1"
    with embedded.running(home, database_url="postgresql://elsewhere/db"):
        deadline = time.monotonic() + 10
        while not (before.exists() and log.stat().st_size == 0):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        monkeypatch.setattr("portal.embedded.launch.LOG_LIMIT_BYTES", 10**6)
    assert b"Server initialized" in before.read_bytes()
    said = log.read_bytes()
    assert said, "it goes on in the emptied file"
    assert not said.startswith(b"\0"), "and at its beginning"


def test_data_survive_a_restart_that_takes_less_than_two_seconds(home: Path) -> None:
    with embedded.running(home) as services:
        ask(services.database_url, "create table kept (word text)")
        ask(services.database_url, "insert into kept values ('still here')")
        redis.Redis.from_url(services.redis_url).set("kept", "still here")
    began = time.monotonic()
    with embedded.running(home) as services:
        elapsed_s = time.monotonic() - began
        assert ask(services.database_url, "select word from kept") == ("still here",)
        assert redis.Redis.from_url(services.redis_url).get("kept") == b"still here"
    assert elapsed_s < 2


def test_the_servers_stop_with_the_block(home: Path) -> None:
    with embedded.running(home):
        servers = [
            child for child in psutil.Process().children() if str(home / "postgres") in child.cmdline()
        ]
        ours = [*servers, *(child for server in servers for child in server.children())]
        assert len(ours) > 2
        runtime = json.loads((home / "embedded.json").read_text())
        ours.append(psutil.Process(runtime["processes"]["Redis"]["pid"]))
    assert not [server for server in ours if server.is_running()]
    assert not (home / "embedded.json").exists()


def test_they_listen_on_loopback_alone(home: Path, own: Callable[..., Owner]) -> None:
    owner = own(home)
    listening = [
        connection.laddr.ip
        for server in owner.servers()
        for connection in server.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_nobody_gets_in_without_the_password(home: Path) -> None:
    with embedded.running(home) as services:
        secret = services.database_url.split(":")[2].split("@")[0]
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(services.database_url.replace(secret, "guess"))
        with pytest.raises(psycopg.OperationalError, match="no pg_hba"):
            psycopg.connect(services.database_url.replace("//mercato:", "//postgres:"))
        host_and_port = services.redis_url.split("@")[1]
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(f"redis://{host_and_port}").ping()
        for secretive in ("embedded.json", "postgres", "redis", "postgres/mercato.password"):
            assert stat.S_IMODE((home / secretive).stat().st_mode) & 0o077 == 0


def test_the_application_is_no_superuser_but_may_make_test_databases(home: Path) -> None:
    with embedded.running(home) as services:
        query = "select usesuper, usecreatedb from pg_user where usename = current_user"
        assert ask(services.database_url, query) == (False, True)


@pytest.mark.parametrize("name", ["postgres", "redis-server"])
def test_a_killed_server_comes_back_at_the_same_address(
    home: Path, own: Callable[..., Owner], name: str
) -> None:
    owner = own(home)
    ask(owner.database_url, "create table kept (word text)")
    redis.Redis.from_url(owner.redis_url).set("kept", "still here")
    victims = [child for child in psutil.Process(owner.process.pid).children() if child.name() == name]
    for victim in victims:
        victim.kill()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            assert ask(owner.database_url, "select count(*) from kept") == (0,)
            assert redis.Redis.from_url(owner.redis_url, retry=None).get("kept") == b"still here"
        except (psycopg.OperationalError, redis.ConnectionError):
            time.sleep(0.05)
        else:
            break
    else:
        pytest.fail(f"{name} did not come back")
    assert victims
    assert not runs(victims[0])
