"""What is lost for a moment while a version loads is no fault of the version."""

import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from django.db import OperationalError

from inference import protocol
from inference.engines.base import Manifest
from inference.protocol import WorkerState
from inference.worker import placement
from inference.worker.host import Room, WorkerHost
from inference.worker.placement import Placement
from inference.worker.registry import Registry
from portal.kit import ids
from portal.kit.redis import client
from tests.inference.worker.worker_process import await_that

VERSION = "0" * 32
MANIFEST = Manifest(
    task="text-generation", architecture="x", context_length=8, weight_bytes=1, memory_bytes=1
)


class Alone:
    """Stands for the registry of an idle worker."""

    def state(self) -> WorkerState:
        return WorkerState(
            id="w", host="h", pid=1, device="cpu", memory_bytes=9, free_bytes=9, started_at=0.0, stopping=False, replicas=(),
        )  # fmt: skip


class Loads:
    """What was tried, and what was refused. The first try meets `error`."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]
        self.tries = 0
        self.refused: list[str] = []

    def load(self, version: str, manifest: Manifest, room: Room) -> None:
        self.tries += 1
        if self._errors:
            raise self._errors.pop()

    def refuse(self, version: str, reason: str) -> None:
        self.refused.append(reason)


@pytest.fixture
def looking(clean_redis: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exception], Loads]]:
    """Placement beside a caller who waits for a version, and whose first load fails so."""
    monkeypatch.setattr(placement, "read_manifest", lambda version: MANIFEST)
    running = []

    def look(error: Exception) -> Loads:
        loads = Loads(error)
        client().zadd(protocol.WANTED, {VERSION: int(time.time() * 1000)})
        running.append(
            Placement(
                client(), worker_id=ids.uuid7(), host=WorkerHost(memory_bytes=9), registry=cast(Registry, Alone()),
                load=loads.load, refuse=loads.refuse,
            )
        )  # fmt: skip
        running[-1].start()
        return loads

    yield look
    for each in running:
        each.stop(timeout=5)


def test_a_loss_of_postgres_is_waited_out(looking: Callable[[Exception], Loads]) -> None:
    loads = looking(OperationalError("the database system is starting up"))
    await_that(lambda: loads.tries > 1, why=lambda: f"{loads.tries} tries")
    assert not loads.refused


def test_what_else_fails_is_told_to_callers(looking: Callable[[Exception], Loads]) -> None:
    loads = looking(RuntimeError("the weights make no sense"))
    await_that(lambda: bool(loads.refused), why=lambda: "nobody was told")
    assert loads.refused == ["The worker failed while loading it."]
