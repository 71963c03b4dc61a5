"""A Redis that would lose calls and money is refused with a sentence; one that may lose them is warned of."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from portal.kit import redis, redis_fitness
from portal.supervisor import checking
from portal.supervisor.checking import CannotStart
from tests.full_redis import full
from tests.portal.embedded.owners import REPOSITORY

SOUND: dict[str, Any] = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "aof_enabled": 1}


@contextmanager
def configured(name: str, value: str) -> Iterator[None]:
    """The session's Redis with another setting, for as long as a block."""
    said = redis.client().config_get(name)
    redis.client().config_set(name, value)
    try:
        yield
    finally:
        redis.client().config_set(name, said[name])


@pytest.mark.parametrize("version", ["6.2.0", "6.10", "7.0.15", "8.0.0-rc1", "10.0"])
def test_recent_servers_are_good(version: str) -> None:
    assert redis_fitness.examine(SOUND | {"redis_version": version}) == redis_fitness.Fitness()


@pytest.mark.parametrize("version", ["6.0.16", "5.0.3", "2.8", ""])
def test_old_servers_are_refused(version: str) -> None:
    assert "6.2 or later is needed" in redis_fitness.examine(SOUND | {"redis_version": version}).refusal


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_servers_that_evict_are_refused(policy: str) -> None:
    refusal = redis_fitness.examine(SOUND | {"maxmemory_policy": policy}).refusal
    assert f"(maxmemory-policy {policy})" in refusal
    assert refusal.endswith("set its maxmemory-policy to noeviction.")


def test_make_up_refuses_an_evicting_redis_and_says_that_another_has_no_file() -> None:
    url = os.environ["REDIS_URL"]
    with configured("maxmemory-policy", "volatile-lru"), pytest.raises(CannotStart, match="evicts keys"):
        checking.reach_redis(url)
    assert checking.reach_redis(url) == ()
    with configured("appendonly", "no"):
        (warning,) = checking.reach_redis(url)
    assert "keeps no append-only file" in warning


def test_no_process_starts_on_a_redis_that_evicts(tmp_path: Path) -> None:
    environment = os.environ | {"MERCATO_HOME": str(tmp_path)}
    web = ["-m", "uvicorn", "portal.asgi:application", "--port", "0"]
    commands = [web, *(["manage.py", name] for name in ("meter", "worker", "jobs", "beat"))]
    with configured("maxmemory-policy", "allkeys-lru"):
        started = [
            subprocess.Popen(
                [sys.executable, *command], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
            )
            for command in commands
        ]
        for process in started:
            _, said = process.communicate(timeout=120)
            assert process.returncode != 0
            sentences = [line for line in said.splitlines() if "evicts keys" in line]
            assert len(sentences) == 1
            assert "Mercato cannot start: The Redis of REDIS_URL evicts keys" in sentences[0]
            assert "Traceback" not in said


def test_a_process_starts_without_an_append_only_file_and_warns(tmp_path: Path) -> None:
    with configured("appendonly", "no"):
        process = subprocess.Popen(
            [sys.executable, "manage.py", "meter"], cwd=REPOSITORY,
            env=os.environ | {"MERCATO_HOME": str(tmp_path)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert "keeps no append-only file" in process.stderr.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()


@pytest.fixture
def readiness(db: None, clean_redis: None) -> Any:
    return lambda: Client().get("/readyz")


def test_readiness_follows_settings_that_change_while_the_site_runs(readiness: Any) -> None:
    assert (readiness().json()["redis"], readiness().json()["warnings"]) == ("ok", [])
    with configured("maxmemory-policy", "allkeys-lru"):
        answer = readiness()
    assert answer.status_code == 503
    assert "evicts keys" in answer.json()["redis"]
    with configured("appendonly", "no"):
        answer = readiness()
    assert answer.json()["redis"] == "ok"
    assert "keeps no append-only file" in answer.json()["warnings"][0]


def test_a_site_whose_redis_is_full_is_not_ready(readiness: Any) -> None:
    with full():
        answer = readiness()
    assert answer.status_code == 503
    assert answer.json()["redis"].startswith("takes no calls: ")
    assert readiness().json()["redis"] == "ok"


def test_the_meter_says_when_a_server_has_begun_to_evict(caplog: pytest.LogCaptureFixture) -> None:
    redis_fitness.report()
    assert "evicts" not in caplog.text
    with configured("maxmemory-policy", "allkeys-lru"):
        redis_fitness.report()
    assert "evicts keys" in caplog.text
