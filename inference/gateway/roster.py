"""Which workers live and what they hold, as their leases in Redis say; refreshed several times a second."""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from inference import quarantine
from inference.protocol import WORKERS, WorkerState, read_worker_state, worker_key
from inference.quarantine import Quarantine

if TYPE_CHECKING:
    from redis.asyncio import Redis

# A lease may be missing for a look or two while Redis restarts; a dead worker's stays missing.
MISSES_ALLOWED = 2


class Roster:
    """One web process's view of the workers."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._workers: dict[str, WorkerState] = {}
        self._misses: dict[str, int] = {}
        self._quarantines: dict[str, Quarantine] = {}
        self._first_look = asyncio.Event()

    async def refresh(self) -> None:
        """Look again. Raises `redis.ConnectionError`; what was known stays."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.smembers(WORKERS)
        pipeline.zrange(quarantine.INDEX, int(time.time()), "+inf", byscore=True, withscores=True)
        members, quarantined = await pipeline.execute()
        ids = sorted(member.decode() for member in members)
        leases: list[Any] = await self._client.mget([worker_key(identity) for identity in ids]) if ids else []
        for identity in self._workers:
            self._misses[identity] = self._misses.get(identity, 0) + 1
        for identity, lease in zip(ids, leases, strict=True):
            if lease:
                self._workers[identity] = read_worker_state(lease)
                self._misses[identity] = 0
        for identity, misses in list(self._misses.items()):
            if misses > MISSES_ALLOWED:
                del self._workers[identity], self._misses[identity]
        await self._read_quarantines({version.decode(): until for version, until in quarantined})
        self._first_look.set()

    async def ready(self) -> None:
        """Wait for the first look."""
        if not self._first_look.is_set():
            await self._first_look.wait()

    def is_alive(self, worker: str) -> bool:
        return worker in self._workers

    def ids(self) -> frozenset[str]:
        return frozenset(self._workers)

    def serves(self, version: str) -> bool:
        """Whether a worker has the version ready."""
        return any(
            replica.version == version and replica.state == "ready"
            for worker in self._workers.values()
            for replica in worker.replicas
        )

    def has_room(self, version: str) -> bool:
        """Whether a worker that takes calls has the version ready, and a slot free for it."""
        return any(
            replica.version == version and replica.state == "ready" and replica.busy < replica.slots
            for worker in self._workers.values()
            if not worker.stopping
            for replica in worker.replicas
        )

    def quarantine_of(self, version: str) -> Quarantine | None:
        """Why the version is left alone, if it is at this moment."""
        found = self._quarantines.get(version)
        return found if found is not None and found.until > time.time() else None

    def loads(self, version: str) -> bool:
        """Whether a worker is just loading it."""
        return any(
            replica.version == version and replica.state == "loading"
            for worker in self._workers.values()
            for replica in worker.replicas
        )

    def largest_bytes(self) -> int | None:
        """The largest memory budget of a worker that takes new versions; None where there is no worker."""
        return max(self._budgets(), default=None)

    async def _read_quarantines(self, until: dict[str, float]) -> None:
        if not until:
            self._quarantines.clear()
            return
        pipeline = self._client.pipeline(transaction=False)
        for version in until:
            pipeline.hgetall(quarantine.key(version))
        facts = await pipeline.execute()
        self._quarantines = {
            version: quarantine.read(fields, until=until[version])
            for version, fields in zip(until, facts, strict=True)
        }

    def _budgets(self) -> Iterable[int]:
        return (worker.memory_bytes for worker in self._workers.values() if not worker.stopping)
