"""The replicas of this worker within its memory budget. Policy of loading and evicting is `placement`'s."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.engines.base import Engine, Manifest
from inference.protocol import ReplicaState
from inference.worker.replica import Replica
from portal.kit import clock


@dataclass(frozen=True, slots=True)
class Room:
    """How to make room: unload these, and only while they are idle unless `even_busy` ones may be drained."""

    victims: Sequence[Replica] = ()
    even_busy: bool = False


class WorkerHost:
    """Holds replicas; safe to use from every thread. `memory_bytes` is the budget of all of them together."""

    def __init__(self, *, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._replicas: dict[str, Replica] = {}
        self._lock = threading.RLock()
        self._listeners: list[Callable[[Replica], None]] = []

    def on_change(self, listener: Callable[[Replica], None]) -> None:
        """Call `listener` with a replica whenever its state has changed, on the thread that changed it."""
        self._listeners.append(listener)

    def find(self, version: str) -> Replica | None:
        return self._replicas.get(version)

    def all(self) -> list[Replica]:
        with self._lock:
            return list(self._replicas.values())

    def serving(self) -> set[str]:
        """Versions whose queues should be consumed."""
        return {replica.version for replica in self.all() if replica.state == "ready"}

    def describe(self) -> tuple[ReplicaState, ...]:
        return tuple(state for replica in self.all() if (state := replica.describe()) is not None)

    @property
    def free_bytes(self) -> int:
        return self.memory_bytes - sum(replica.manifest.memory_bytes for replica in self.all())

    def begin_load(self, version: str, manifest: Manifest) -> Replica | None:
        """Set memory aside for a version; None if it is here already or does not fit now."""
        with self._lock:
            if version in self._replicas or manifest.memory_bytes > self.free_bytes:
                return None
            replica = self._replicas[version] = Replica(version=version, manifest=manifest)
        self._tell(replica)
        return replica

    def complete_load(self, replica: Replica, engine: Engine, *, seconds: float) -> None:
        replica.engine = engine
        replica.load_seconds = seconds
        replica.loaded_at = clock.now()
        replica.state = "ready"
        self._tell(replica)

    def fail_load(self, replica: Replica, *, error: str) -> None:
        replica.error = error
        self._remove(replica, state="failed")

    def condemn(self, replica: Replica, *, error: str) -> None:
        """Serve it no more, whatever its engine still does. Its memory counts as free."""
        replica.engine = None
        self.fail_load(replica, error=error)

    def find_idle_room(self, needed_bytes: int, *, idle_seconds: float = 0.0) -> Room | None:
        """The least recently used idle replicas whose going makes room; None if they do not suffice."""
        return self._find_room(
            needed_bytes,
            [each for each in self.all() if each.is_idle() and each.idle_seconds() >= idle_seconds],
            even_busy=False,
        )

    def find_busy_room(self, needed_bytes: int, *, resident_seconds: float) -> Room | None:
        """Replicas, busy ones too, whose draining would make room: idle longest first, none that is new."""
        return self._find_room(
            needed_bytes,
            [
                each
                for each in self.all()
                if each.state == "ready" and each.resident_seconds() >= resident_seconds
            ],
            even_busy=True,
        )

    def _find_room(self, needed_bytes: int, candidates: list[Replica], *, even_busy: bool) -> Room | None:
        free = self.free_bytes
        victims: list[Replica] = []
        for replica in sorted(candidates, key=Replica.idle_seconds, reverse=True):
            if free >= needed_bytes:
                break
            victims.append(replica)
            free += replica.manifest.memory_bytes
        return Room(victims, even_busy) if free >= needed_bytes else None

    def begin_drain(self, replica: Replica, *, only_idle: bool) -> bool:
        """Take no more calls for it. False if it is not ready, or not idle where that is asked for."""
        with self._lock:
            if replica.state != "ready" or (only_idle and not replica.is_idle()):
                return False
            replica.state = "draining"
        self._tell(replica)
        return True

    def unload(self, replica: Replica, *, timeout: float) -> None:
        """Close its engine once what is in flight has ended (seconds), and free its memory."""
        if replica.engine is not None:
            replica.engine.close(drain=True, timeout=timeout)
            replica.engine = None
        self._remove(replica, state="unloaded")

    def reserve(self, version: str, token: str) -> None:
        """A message for this version has been received: one slot less, if it is still here, until `release`."""
        replica = self._replicas.get(version)
        if replica is not None:
            with self._lock:
                replica.reservations[token] = time.monotonic()
                replica.last_used_at = clock.now()

    def release(self, version: str, token: str) -> None:
        """The call is in its engine, which counts it from here, or it will never be."""
        replica = self._replicas.get(version)
        if replica is not None:
            with self._lock:
                replica.reservations.pop(token, None)

    def _remove(self, replica: Replica, *, state: str) -> None:
        replica.state = "failed" if state == "failed" else "unloaded"
        replica.unloaded_at = clock.now()
        with self._lock:
            if self._replicas.get(replica.version) is replica:
                del self._replicas[replica.version]
        self._tell(replica)

    def _tell(self, replica: Replica) -> None:
        for listener in self._listeners:
            listener(replica)
