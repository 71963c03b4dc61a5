"""Which replicas make room, without a process: engines here only say how full they are."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from inference.engines.base import Capacity, Engine, Manifest
from inference.worker.host import WorkerHost
from inference.worker.replica import Replica
from portal.kit import clock


@dataclass
class Fullness:
    """Stands for an engine: so many slots, so many taken."""

    slots: int = 4
    busy: int = 0
    closed: list[bool] = field(default_factory=list)

    def capacity(self) -> Capacity:
        return Capacity(slots=self.slots, busy=self.busy)

    def close(self, **how: Any) -> None:
        self.closed.append(how["drain"])


@pytest.fixture
def host() -> WorkerHost:
    return WorkerHost(memory_bytes=100)


def load(host: WorkerHost, version: str, *, size: int, idle_for: float, busy: int = 0) -> Replica:
    manifest = Manifest(
        task="text-generation", architecture="x", context_length=8, weight_bytes=1, memory_bytes=size
    )
    replica = host.begin_load(version, manifest)
    assert replica is not None
    host.complete_load(replica, cast(Engine, Fullness(busy=busy)), seconds=1)
    replica.loaded_at = replica.last_used_at = clock.now() - timedelta(seconds=idle_for)
    return replica


def test_free_memory_needs_no_victim(host: WorkerHost) -> None:
    load(host, "a", size=40, idle_for=100)
    room = host.find_idle_room(60)
    assert room is not None
    assert not room.victims


def test_the_idle_go_longest_idle_first_and_only_as_many_as_needed(host: WorkerHost) -> None:
    for version, idle_for in (("a", 10), ("b", 30), ("c", 20)):
        load(host, version, size=33, idle_for=idle_for)
    room = host.find_idle_room(60)
    assert room is not None
    assert [victim.version for victim in room.victims] == ["b", "c"]


def test_a_busy_one_is_no_victim_until_callers_have_waited_and_it_has_stayed(host: WorkerHost) -> None:
    load(host, "a", size=90, idle_for=20, busy=1)
    assert host.find_idle_room(50) is None
    assert host.find_busy_room(50, resident_seconds=60) is None
    room = host.find_busy_room(50, resident_seconds=10)
    assert room is not None
    assert room.even_busy


def test_a_call_that_arrives_meanwhile_saves_an_idle_victim(host: WorkerHost) -> None:
    replica = load(host, "a", size=90, idle_for=20)
    host.reserve("a", "message")
    assert not host.begin_drain(replica, only_idle=True)
    assert replica.state == "ready"
    host.release("a", "message")
    assert host.begin_drain(replica, only_idle=True)
    assert "a" not in host.serving()


def test_a_received_message_takes_its_slot_before_its_call_is_in_the_engine(host: WorkerHost) -> None:
    replica = load(host, "a", size=10, idle_for=0, busy=3)
    assert replica.has_room()
    host.reserve("a", "message")
    assert not replica.has_room()
    host.release("a", "message")
    assert replica.has_room()


def test_memory_is_set_aside_from_the_start_of_loading_and_returns_after_a_failure(host: WorkerHost) -> None:
    manifest = Manifest(
        task="text-generation", architecture="x", context_length=8, weight_bytes=1, memory_bytes=60
    )
    first = host.begin_load("a", manifest)
    assert first is not None
    assert host.begin_load("b", manifest) is None
    assert host.begin_load("a", manifest) is None
    host.fail_load(first, error="broken")
    assert host.free_bytes == 100
    assert host.begin_load("b", manifest) is not None
