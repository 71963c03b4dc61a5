"""Celery's loop is woken for a slot that became free where a queue waits for one, and only there."""

from types import SimpleNamespace
from typing import Any

import pytest

from inference.worker.consuming import Consuming, Gate


class Room:
    """A replica that has room or not, in whose place a host answers."""

    def __init__(self) -> None:
        self.is_free = True

    def find(self, _: str) -> Any:
        return SimpleNamespace(has_room=lambda: self.is_free)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def gate(room: Room) -> Gate:
    gate: Any = Gate.__new__(Gate)
    gate.version, gate.closing, gate.waits, gate._host = "v", False, False, room
    made: Gate = gate
    return made


@pytest.fixture
def woken() -> list[Any]:
    return []


@pytest.fixture
def consuming(gate: Gate, room: Room, woken: list[Any]) -> Consuming:
    worker = SimpleNamespace(hub=SimpleNamespace(call_soon=woken.append))
    host: Any = room
    consuming = Consuming(worker, host=host)
    consuming._gates["v"] = gate
    return consuming


def test_nobody_is_woken_where_no_queue_waits(consuming: Consuming, gate: Gate, woken: list[Any]) -> None:
    assert gate._can_consume()
    consuming.wake()
    assert woken == []


def test_a_queue_that_waits_is_looked_at_again_once(
    consuming: Consuming, gate: Gate, room: Room, woken: list[Any]
) -> None:
    room.is_free = False
    assert not gate._can_consume()
    # Asked a second time in the same round, after a slot has become free: the first answer was heeded.
    room.is_free = True
    assert gate._can_consume()
    consuming.wake()
    consuming.wake()
    assert len(woken) == 1
    assert gate._can_consume()
    assert not gate.waits


def test_a_full_engine_wakes_nobody(consuming: Consuming, gate: Gate, room: Room, woken: list[Any]) -> None:
    room.is_free = False
    assert not gate._can_consume()
    consuming.wake()
    assert woken == []
    room.is_free = True
    consuming.wake()
    assert len(woken) == 1


def test_a_worker_that_stops_is_woken_without_any_queue(consuming: Consuming, woken: list[Any]) -> None:
    consuming._gates.clear()
    consuming.nudge()
    assert len(woken) == 1
