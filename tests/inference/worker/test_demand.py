"""What counts as a lack: callers who wait for what nobody serves, and queues that stay full."""

import time

import pytest

from inference import protocol
from inference.protocol import ReplicaState, WorkerState
from inference.worker import demand
from inference.worker.demand import Demand
from portal.kit.redis import client

VERSION = "0" * 32


@pytest.fixture
def seen(clean_redis: None) -> Demand:
    return Demand(client())


def worker(*versions: str, state: str = "ready", stopping: bool = False) -> WorkerState:
    replicas = tuple(
        ReplicaState(version=version, state=state, memory_bytes=1, slots=1, busy=0)  # type: ignore[arg-type]
        for version in versions
    )
    return WorkerState(
        id="w", host="h", pid=1, device="cpu", memory_bytes=9, free_bytes=9, started_at=0.0, stopping=stopping,
        replicas=replicas,
    )  # fmt: skip


def mark() -> None:
    # Marks are told apart by the millisecond, from what came before and after.
    time.sleep(0.002)
    client().zadd(protocol.WANTED, {VERSION: int(time.time() * 1000)})
    time.sleep(0.002)


def kinds(lacks: list[demand.Lack]) -> list[str]:
    return [lack.kind for lack in lacks]


def test_a_version_that_callers_wait_for_and_nobody_serves_is_cold(seen: Demand) -> None:
    assert seen.read([worker()]) == []
    mark()
    assert kinds(seen.read([worker()])) == ["cold"]
    assert seen.read([worker(VERSION, state="loading")]) == [], "somebody is at it"


def test_one_on_a_stopping_or_draining_worker_is_as_good_as_cold(seen: Demand) -> None:
    mark()
    assert kinds(seen.read([worker(VERSION, stopping=True)])) == ["cold"]
    assert kinds(seen.read([worker(VERSION, state="draining")])) == ["cold"]


def test_an_evicted_version_comes_back_only_for_callers_who_wait_since(seen: Demand) -> None:
    mark()
    seen.read([worker(VERSION)])
    assert seen.read([worker()]) == [], "who marked it then was served"
    mark()
    assert kinds(seen.read([worker()])) == ["cold"]


def test_a_queue_left_behind_by_its_worker_is_cold_without_any_mark(seen: Demand) -> None:
    seen.read([worker(VERSION)])
    client().lpush(protocol.queue_name(VERSION), "message")
    assert kinds(seen.read([worker()])) == ["cold"]


def test_a_served_queue_asks_for_relief_only_when_it_stays_full(
    seen: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "BACKLOG_SECONDS", 0.05)
    client().lpush(protocol.queue_name(VERSION), "message")
    assert seen.read([worker(VERSION)]) == []
    time.sleep(0.06)
    assert kinds(seen.read([worker(VERSION)])) == ["relief"]
    client().delete(protocol.queue_name(VERSION))
    assert seen.read([worker(VERSION)]) == []
    client().lpush(protocol.queue_name(VERSION), "message")
    assert seen.read([worker(VERSION)]) == [], "the clock starts again"


def test_a_glance_sees_who_waits(seen: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen.glance(), "nothing is known yet"
    seen.read([worker(VERSION)])
    assert not seen.glance()
    client().lpush(protocol.queue_name(VERSION), "message")
    assert seen.glance()
    client().delete(protocol.queue_name(VERSION))
    mark()
    assert seen.glance()
    client().delete(protocol.WANTED)
    assert not seen.glance()
    monkeypatch.setattr(demand, "LOOK_SECONDS", 0.0)
    assert seen.glance(), "who serves what may have changed"


def test_a_queue_that_a_glance_found_empty_has_not_stayed_full(
    seen: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "BACKLOG_SECONDS", 0.0)
    client().lpush(protocol.queue_name(VERSION), "message")
    (before,) = seen.read([worker(VERSION)])
    client().delete(protocol.queue_name(VERSION))
    time.sleep(0.05)
    assert not seen.glance()
    client().lpush(protocol.queue_name(VERSION), "message")
    (after,) = seen.read([worker(VERSION)])
    assert before.seconds == after.seconds == 0


def test_old_marks_are_forgotten(seen: Demand) -> None:
    old = time.time() - protocol.WANTED_LEASE_SECONDS - 1
    client().zadd(protocol.WANTED, {VERSION: int(old * 1000)})
    assert seen.read([worker()]) == []
    assert client().zcard(protocol.WANTED) == 0
