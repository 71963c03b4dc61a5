"""Which worker loads what. Every worker pulls: it looks for a version that lacks a worker, and claims it.

A worker with free room claims at once; one that would have to evict waits a moment, so that the former
wins. Only idle replicas are evicted, least recently used first. When all are busy for long, the one used
longest ago stops taking calls, finishes those it has, and then makes room.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

import redis
from django.db import InterfaceError, OperationalError

from inference import protocol, quarantine
from inference.engines.base import Manifest
from inference.errors import VersionNotLoadable, VersionTooLarge
from inference.worker.demand import Demand, Lack
from inference.worker.host import Room, WorkerHost
from inference.worker.loading import read_manifest
from inference.worker.registry import Registry, read_workers
from portal.kit import supervision
from portal.kit.errors import PortalError
from portal.kit.redis import is_passing

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
EVICTION_WAIT_SECONDS = 0.2
CLAIM_SECONDS = 10
# For relief a replica must have been idle this long, lest two busy versions push each other out.
RELIEF_IDLE_SECONDS = 30.0
# A caller waits this long for busy replicas to become idle by themselves, and a replica stays this long.
PATIENCE_SECONDS = 3.0
RESIDENCE_SECONDS = 10.0
# Between tries to load while Postgres or Redis is away.
RETRY_SECONDS = 0.5


class Placement:
    """Looks for lacks on a thread of its own. `load(version, manifest, room)` runs on another, one at a time;
    `refuse(version, reason)` tells the callers of one that cannot be loaded.
    """

    def __init__(
        self, client: "redis.Redis", *, worker_id: UUID, host: WorkerHost, registry: Registry,
        load: Callable[[str, Manifest, Room], None], refuse: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._client = client
        self._worker_id = worker_id.hex
        self._host = host
        self._registry = registry
        self._load = load
        self._refuse = refuse
        self._demand = Demand(client)
        self._manifests: dict[str, Manifest] = {}
        self._loader: threading.Thread | None = None
        self._ended = threading.Event()
        self._thread = supervision.thread(self._look_on, name="placement")

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout: float) -> None:
        """Look no more; a load under way may end within `timeout` seconds."""
        self._ended.set()
        self._thread.join(timeout)
        if self._loader is not None:
            self._loader.join(timeout)

    def _look_on(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self._look()
            except redis.RedisError as error:
                log.warning("placement waits for Redis: %s", error)
                self._ended.wait(1.0)
            except Exception:
                log.exception("placement failed; trying again")
                self._ended.wait(1.0)

    def _look(self) -> None:
        if not self._demand.glance():
            return
        others = [state for state in read_workers(self._client) if state.id != self._worker_id]
        lacks = self._demand.read([*others, self._registry.state()])
        for lack in lacks:
            if self._loader is not None and self._loader.is_alive():
                return
            if self._host.find(lack.version) is None:
                self._consider(lack, others)

    def _consider(self, lack: Lack, others: Sequence[protocol.WorkerState]) -> None:
        reason = self._find_refusal(lack.version)
        if reason is not None:
            self._refuse(lack.version, reason)
            return
        try:
            manifest = self._find_manifest(lack.version)
            self._check_size(manifest, others)
        except PortalError as refusal:
            self._refuse(lack.version, str(refusal))
            return
        room = self._find_room(lack, manifest)
        if room is None or (room.victims and lack.seconds < EVICTION_WAIT_SECONDS):
            return
        if self._claim(lack.version):
            self._loader = threading.Thread(
                target=self._load_claimed, args=(lack.version, manifest, room), name="loader", daemon=True
            )
            self._loader.start()

    def _find_refusal(self, version: str) -> str | None:
        """Why nobody loads it now."""
        reason = cast("bytes | None", self._client.get(protocol.load_error_key(version)))
        if reason is not None:
            return reason.decode()
        found = quarantine.find(self._client, [version]).get(version)
        return f"This version is out of service for a while: {found.reason}." if found else None

    def _find_manifest(self, version: str) -> Manifest:
        if version not in self._manifests:
            self._manifests[version] = read_manifest(version)
        return self._manifests[version]

    def _check_size(self, manifest: Manifest, others: Sequence[protocol.WorkerState]) -> None:
        largest = max([self._host.memory_bytes, *(other.memory_bytes for other in others)])
        if manifest.memory_bytes > largest:
            raise VersionTooLarge(needed_bytes=manifest.memory_bytes, largest_bytes=largest)

    def _find_room(self, lack: Lack, manifest: Manifest) -> Room | None:
        idle_seconds = RELIEF_IDLE_SECONDS if lack.kind == "relief" else 0.0
        room = self._host.find_idle_room(manifest.memory_bytes, idle_seconds=idle_seconds)
        if room is None and lack.kind == "cold" and lack.seconds > PATIENCE_SECONDS:
            room = self._host.find_busy_room(manifest.memory_bytes, resident_seconds=RESIDENCE_SECONDS)
        return room

    def _claim(self, version: str) -> bool:
        return bool(self._client.set(protocol.claim_key(version), self._worker_id, nx=True, ex=CLAIM_SECONDS))

    def _load_claimed(self, version: str, manifest: Manifest, room: Room) -> None:
        try:
            self._load(version, manifest, room)
        except VersionNotLoadable as error:
            self._refuse(version, str(error))
        except BaseException as error:  # native code that reads a stranger's files may panic
            if isinstance(error, (OperationalError, InterfaceError)) or is_passing(error):
                # That says nothing of the version; its callers wait for the next try.
                log.warning("loading %s waits: %s", version, error)
                self._ended.wait(RETRY_SECONDS)
            else:
                log.exception("loading %s failed", version)
                self._refuse(version, "The worker failed while loading it.")
        finally:
            self._client.delete(protocol.claim_key(version))
