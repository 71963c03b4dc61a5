"""Load a claimed version, after making room; tell the callers of one that cannot be loaded."""

import logging
import time
from typing import Any

import redis
from celery import Celery

from billing.reasons import Reason
from inference import protocol
from inference.engines.base import Manifest
from inference.worker import loading
from inference.worker.consuming import Consuming
from inference.worker.host import Room, WorkerHost
from inference.worker.replica import Replica
from inference.worker.replies import Replies
from inference.worker.running import Runner

log = logging.getLogger(__name__)

LOAD_ERROR_SECONDS = 30
GATE_SECONDS = 10.0
DRAIN_SECONDS = 120.0


class Residency:
    """What placement asks for, carried out."""

    def __init__(
        self, client: "redis.Redis", *, app: Celery, device: str, host: WorkerHost, consuming: Consuming,
        replies: Replies, runner: Runner,
    ) -> None:  # fmt: skip
        self._client = client
        self._app = app
        self._device = device
        self._host = host
        self._consuming = consuming
        self._replies = replies
        self._runner = runner

    def load(self, version: str, manifest: Manifest, room: Room) -> None:
        """Make room, then load and serve the version. Raises `VersionNotLoadable`."""
        for victim in room.victims:
            if not self.evict(victim, only_idle=not room.even_busy):
                return
        replica = self._host.begin_load(version, manifest)
        if replica is None:
            return
        log.info("loading %s", version)
        try:
            engine, seconds = loading.load(
                version, manifest=manifest, device=self._device, sink=self._replies.sink()
            )
        except BaseException as error:
            self._host.fail_load(replica, error=str(error))
            raise
        self._host.complete_load(replica, engine, seconds=seconds)
        log.info("loaded %s in %.1f s", version, seconds)

    def evict(self, replica: Replica, *, only_idle: bool) -> bool:
        """Unload a replica once its calls have ended. False if it was to be idle and has got a call meanwhile."""
        if not self._host.begin_drain(replica, only_idle=only_idle):
            return False
        self._consuming.wait_closed(replica.version, timeout=GATE_SECONDS)
        deadline = time.monotonic() + GATE_SECONDS
        while replica.reserved() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._host.unload(replica, timeout=DRAIN_SECONDS)
        log.info("evicted %s", replica.version)
        return True

    def refuse(self, version: str, reason: str) -> None:
        """Note why a version cannot be loaded, and finish the calls in its queue with that."""
        if self._client.set(protocol.load_error_key(version), reason, nx=True, ex=LOAD_ERROR_SECONDS):
            log.error("version %s: %s", version, reason)
        self._client.zrem(protocol.WANTED, version)
        with self._app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            while message := channel.basic_get(protocol.queue_name(version), no_ack=True):
                (request, *_), _, _ = message.decode()
                token = str(message.headers.get("id"))
                self._runner.abandon(version, request, error=reason, why=Reason.LOAD_FAILED, token=token)
