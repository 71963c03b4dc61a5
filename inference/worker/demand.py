"""Which versions lack a worker: those that callers wait for, and those whose queues stay full."""

import time
from dataclasses import dataclass, field
from typing import Literal

import redis

from inference import protocol
from inference.protocol import WorkerState

# A queue that stays backlogged this long, though a worker consumes it, deserves a second worker.
BACKLOG_SECONDS = 0.5
# How long after its last sight a version's queue is still looked at.
REMEMBER_SECONDS = 60.0
# How often who serves what is read, though nobody waits.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """`cold`: nobody serves the version. `relief`: somebody does, and is overwhelmed. Seconds it has lasted."""

    version: str
    kind: Literal["cold", "relief"]
    seconds: float


@dataclass(slots=True)
class Demand:
    """What this worker has seen of queues and callers, so that it knows how long a lack has lasted."""

    client: "redis.Redis"
    _seen: dict[str, float] = field(default_factory=dict)
    _served_ms: dict[str, int] = field(default_factory=dict)
    _since: dict[tuple[str, str], float] = field(default_factory=dict)
    _read_at: float = 0.0

    def glance(self) -> bool:
        """Whether to `read`: somebody waits, or it is a while ago. One question to Redis, as a busy engine shares its
        core with whoever looks ten times a second.
        """
        if time.monotonic() - self._read_at > LOOK_SECONDS:
            return True
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zcard(protocol.WANTED)
        for version in self._seen:
            pipeline.llen(protocol.queue_name(version))
        if any(pipeline.execute()):
            return True
        self._since.clear()
        return False

    def read(self, workers: list[WorkerState]) -> list[Lack]:
        """The lacks of this moment, longest first. `workers` are all live ones, this one included."""
        now = self._read_at = time.monotonic()
        served = {replica.version: replica.state for worker in workers for replica in _useful(worker)}
        ready = {
            replica.version for worker in workers for replica in _useful(worker) if replica.state == "ready"
        }
        self._served_ms.update(dict.fromkeys(served, int(time.time() * 1000)))
        wanted = self._read_wanted()
        self._remember(served.keys() | wanted, now=now)
        backlog = self._read_backlog(sorted(self._seen))
        lacks: set[tuple[str, Literal["cold", "relief"]]] = set()
        for version in wanted | {version for version, length in backlog.items() if length}:
            if version not in served:
                lacks.add((version, "cold"))
            elif version in ready and backlog.get(version):
                lacks.add((version, "relief"))
        self._since = {lack: self._since.get(lack, now) for lack in lacks}
        found = [Lack(version=v, kind=kind, seconds=now - self._since[v, kind]) for v, kind in lacks]
        found = [lack for lack in found if lack.kind == "cold" or lack.seconds >= BACKLOG_SECONDS]
        return sorted(found, key=lambda lack: -lack.seconds)

    def _read_wanted(self) -> set[str]:
        oldest = int((time.time() - protocol.WANTED_LEASE_SECONDS) * 1000)
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zremrangebyscore(protocol.WANTED, "-inf", oldest)
        pipeline.zrange(protocol.WANTED, 0, 200, withscores=True)
        marks = {member.decode(): marked_ms for member, marked_ms in pipeline.execute()[1]}
        # A mark from before the version was last served has been answered; evicting it must not bring it back.
        return {version for version, marked in marks.items() if marked > self._served_ms.get(version, 0)}

    def _remember(self, versions: set[str], *, now: float) -> None:
        self._seen.update(dict.fromkeys(versions, now))
        for version, seen in list(self._seen.items()):
            if now - seen > REMEMBER_SECONDS:
                del self._seen[version]
                self._served_ms.pop(version, None)

    def _read_backlog(self, versions: list[str]) -> dict[str, int]:
        pipeline = self.client.pipeline(transaction=False)
        for version in versions:
            pipeline.llen(protocol.queue_name(version))
        return dict(zip(versions, pipeline.execute(), strict=True)) if versions else {}


def _useful(worker: WorkerState) -> list[protocol.ReplicaState]:
    if worker.stopping:
        return []
    return [replica for replica in worker.replicas if replica.state != "draining"]
