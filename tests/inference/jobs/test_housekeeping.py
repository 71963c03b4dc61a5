"""Beat, its lock, and what it sends."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from inference import tasks
from inference.models import Replica, Worker
from inference.protocol import WORKERS, ReplicaState, WorkerState, pack, worker_key
from inference.schedule import SCHEDULE
from inference.worker import beating
from portal.celery import app
from portal.kit import clock, ids
from portal.kit.redis import client
from tests.conftest import Cast

pytestmark = pytest.mark.usefixtures("clean_redis")


def test_only_one_beat_holds_the_lock_until_it_goes() -> None:
    assert beating._hold(client(), "first")
    assert not beating._hold(client(), "second")
    assert beating._hold(client(), "first"), "its holder renews it"
    assert 0 < client().ttl(beating.LOCK) <= beating.LOCK_SECONDS  # type: ignore[operator]
    client().delete(beating.LOCK)
    assert beating._hold(client(), "second")


def test_everything_on_the_schedule_is_a_task() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in SCHEDULE.values()} <= set(app.tasks)


@pytest.fixture
def silent(db: None) -> Worker:
    seen = clock.now() - timedelta(minutes=5)
    return Worker.objects.create(
        id=ids.uuid7(), host="h", pid=1, device="cpu", memory_bytes=1, started_at=seen, last_seen_at=seen
    )


def test_the_record_of_a_worker_that_died_is_closed(silent: Worker) -> None:
    tasks.close_stale_workers()
    silent.refresh_from_db()
    assert silent.stopped_at == silent.last_seen_at
    assert "died" in silent.stop_reason


def test_a_worker_whose_lease_holds_is_not_closed_though_postgres_has_not_heard_of_it(silent: Worker) -> None:
    register(silent)
    tasks.close_stale_workers()
    silent.refresh_from_db()
    assert silent.stopped_at is None


def test_operators_see_workers_with_what_they_say_of_themselves_now(
    silent: Worker, cast: Cast, settings: SimpleNamespace
) -> None:
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    register(silent)
    page = cast.browser(cast.operator).get("/admin/inference/worker/").content.decode()
    assert "serving" in page
    assert "3/64" in page
    client().delete(worker_key(silent.pk.hex))
    assert "silent" in cast.browser(cast.operator).get("/admin/inference/worker/").content.decode()
    assert not Replica.objects.exists()


def register(worker: Worker) -> None:
    replica = ReplicaState(version="0" * 32, state="ready", memory_bytes=1, slots=64, busy=3)
    state = WorkerState(
        id=worker.pk.hex, host="h", pid=1, device="cpu", memory_bytes=2**30, free_bytes=2**29, started_at=0.0,
        stopping=False, replicas=(replica,),
    )  # fmt: skip
    client().sadd(WORKERS, worker.pk.hex)
    client().set(worker_key(worker.pk.hex), pack(state), ex=60)
