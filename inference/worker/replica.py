"""One version on this worker: its engine, its state and who is about to use it."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from inference.engines.base import Capacity, Engine, Manifest
from inference.protocol import ReplicaState
from portal.kit import clock, ids

# A message that Celery dropped between the broker and the task must not narrow the gate for ever.
RESERVATION_SECONDS = 30.0

State = Literal["loading", "ready", "draining", "unloaded", "failed"]


@dataclass(slots=True, kw_only=True)
class Replica:
    """Times are aware UTC. `reservations` are messages received whose call is not yet in the engine."""

    version: str
    manifest: Manifest
    id: UUID = field(default_factory=ids.uuid7)
    state: State = "loading"
    engine: Engine | None = None
    created_at: datetime = field(default_factory=clock.now)
    loaded_at: datetime | None = None
    load_seconds: float | None = None
    last_used_at: datetime | None = None
    unloaded_at: datetime | None = None
    error: str = ""
    reservations: dict[str, float] = field(default_factory=dict)

    def capacity(self) -> Capacity:
        """The engine's slots, and how many are taken or promised."""
        engine = self.engine  # another thread may be unloading it
        if engine is None:
            return Capacity(slots=0, busy=0)
        inside = engine.capacity()
        return Capacity(slots=inside.slots, busy=inside.busy + self.reserved())

    def has_room(self) -> bool:
        capacity = self.capacity()
        return capacity.busy < capacity.slots

    def is_idle(self) -> bool:
        return self.state == "ready" and self.capacity().busy == 0

    def idle_seconds(self) -> float:
        """How long since a call was given to it, or since it was loaded."""
        since = self.last_used_at or self.loaded_at or self.created_at
        return (clock.now() - since).total_seconds()

    def resident_seconds(self) -> float:
        return (clock.now() - (self.loaded_at or self.created_at)).total_seconds()

    def describe(self) -> ReplicaState | None:
        """What the registry says of it; None once it is gone."""
        if self.state == "unloaded" or self.state == "failed":
            return None
        capacity = self.capacity()
        return ReplicaState(
            version=self.version, state=self.state, memory_bytes=self.manifest.memory_bytes,
            slots=capacity.slots, busy=capacity.busy,
        )  # fmt: skip

    def reserved(self) -> int:
        """How many calls are on their way to the engine."""
        if not self.reservations:
            return 0
        oldest_kept = time.monotonic() - RESERVATION_SECONDS
        return sum(made > oldest_kept for made in tuple(self.reservations.values()))
