"""The lasting record of a worker and its replicas in Postgres, for operators. Never in a call's way."""

import logging
import os
import socket
import threading
from datetime import timedelta
from uuid import UUID

import redis
from django.db import Error, connection
from django.db.models import F

from inference import models
from inference.worker.registry import read_workers
from inference.worker.replica import Replica
from portal.kit import clock, supervision

log = logging.getLogger(__name__)

SEEN_SECONDS = 10.0
AGAIN_SECONDS = 1.0
STALE_SECONDS = 60.0


class Mirror:
    """Writes from a thread of its own; what Postgres refuses now is written again with the next change."""

    def __init__(self, *, worker_id: UUID, device: str, memory_bytes: int) -> None:
        self._worker = models.Worker(
            id=worker_id, host=socket.gethostname(), pid=os.getpid(), device=device, memory_bytes=memory_bytes
        )
        self._changed: dict[UUID, Replica] = {}
        self._lock = threading.Lock()
        self._soon = threading.Event()
        self._ended = False
        self._thread = supervision.thread(self._write_on, name="mirror")

    def start(self) -> None:
        self._thread.start()

    def note(self, replica: Replica) -> None:
        """Record a replica's present state soon."""
        with self._lock:
            self._changed[replica.id] = replica
        self._soon.set()

    def stop(self, *, reason: str, timeout: float) -> None:
        """Close the record."""
        self._worker.stopped_at = clock.now()
        self._worker.stop_reason = reason
        self._ended = True
        self._soon.set()
        self._thread.join(timeout)

    def _write_on(self) -> None:
        while not self._ended:
            try:
                self._write()
            except Error as error:
                log.warning("the record of this worker waits for Postgres: %s", error)
                connection.close()
            self._soon.wait(AGAIN_SECONDS if self._worker._state.adding else SEEN_SECONDS)
            self._soon.clear()
        self._write_last()

    def _write_last(self) -> None:
        try:
            self._write()
        except Error as error:
            log.warning("the record of this worker stays open: %s", error)
        connection.close()

    def _write(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, {}
        try:
            if self._worker._state.adding:
                self._worker.save(force_insert=True)
            for replica in changed.values():
                _save(replica, worker=self._worker)
        except Error:
            with self._lock:
                self._changed = {**changed, **self._changed}
            raise
        self._worker.last_seen_at = clock.now()
        self._worker.save(update_fields=["last_seen_at", "stopped_at", "stop_reason"])


def _save(replica: Replica, *, worker: models.Worker) -> None:
    models.Replica.objects.update_or_create(
        id=replica.id,
        defaults={
            "worker": worker, "version_id": UUID(hex=replica.version), "state": replica.state,
            "memory_bytes": replica.manifest.memory_bytes, "loaded_at": replica.loaded_at,
            "load_seconds": replica.load_seconds, "last_used_at": replica.last_used_at,
            "unloaded_at": replica.unloaded_at, "error": replica.error,
        },
    )  # fmt: skip


def close_stale(client: "redis.Redis") -> int:
    """Close the records of workers that died without doing so. Answers how many."""
    alive = {UUID(hex=state.id) for state in read_workers(client)}
    silent_since = clock.now() - timedelta(seconds=STALE_SECONDS)
    dead = models.Worker.objects.filter(stopped_at=None, last_seen_at__lt=silent_since).exclude(id__in=alive)
    ids = list(dead.values_list("id", flat=True))
    models.Replica.objects.filter(worker__in=ids).exclude(state__in=models.Replica.GONE).update(
        state=models.Replica.State.UNLOADED, unloaded_at=clock.now(), error="The worker died."
    )
    return models.Worker.objects.filter(id__in=ids).update(
        stopped_at=F("last_seen_at"), stop_reason="died: its lease lapsed"
    )
