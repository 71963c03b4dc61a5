"""A worker that starts while Redis can keep nothing waits, instead of ending and being started ever more slowly."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from inference import protocol
from inference.worker.host import WorkerHost
from inference.worker.registry import Registry, read_workers
from portal.celery import LONGEST_WAIT_SECONDS, app
from portal.kit import ids
from portal.kit import redis as redis_kit
from tests.portal.kit.test_redis_errors import refusing_writes


def new_registry() -> Registry:
    host: Any = SimpleNamespace(memory_bytes=1, free_bytes=1, describe=lambda: ())
    return Registry(redis_kit.client(), worker_id=ids.uuid7(), device="cpu", host=cast(WorkerHost, host))


def test_it_announces_itself_as_soon_as_redis_keeps_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BEAT_SECONDS", 0.05)
    registry = new_registry()
    starting = threading.Thread(target=registry.start)
    with refusing_writes():
        starting.start()
        starting.join(0.3)
        assert starting.is_alive()
    starting.join(10)
    assert len(read_workers(redis_kit.client())) == 1
    registry.stop()


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.worker.registry.START_SECONDS", 0)
    with refusing_writes(), pytest.raises(redis.RedisError):
        new_registry().start()


def test_celery_looks_often_whether_its_broker_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def note(_: Exception, wait: float) -> None:
        waits.append(wait)
        if len(waits) == 8:
            raise StopIteration

    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _: None)
    with app.connection_for_read("redis://127.0.0.1:1/0") as connection, pytest.raises(StopIteration):
        connection.ensure_connection(note)
    assert max(waits) <= LONGEST_WAIT_SECONDS
