"""A worker needs Postgres for its record only: it serves without, and the record follows."""

from collections.abc import Callable

from inference.models import Worker
from tests.absent_postgres import absent
from tests.inference.worker.worker_process import RunningWorker, await_that


def test_a_worker_that_starts_without_postgres_is_recorded_later(
    workers: Callable[..., RunningWorker],
) -> None:
    with absent():
        worker = workers()
        state = worker.state()
    assert state is not None
    await_that(lambda: Worker.objects.filter(pid=state.pid, stopped_at=None).exists(), why=lambda: worker.log)
