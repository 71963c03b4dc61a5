"""The whole worker process, composed and run: a Celery worker with a threads pool around the engines."""

import logging
import socket
import threading
from uuid import UUID

import redis
from celery import Celery
from celery.signals import worker_ready
from django.conf import settings
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from inference.worker import device as devices
from inference.worker import loading
from inference.worker.calls import Calls
from inference.worker.celery_settings import configure
from inference.worker.consuming import Consuming
from inference.worker.control import Control
from inference.worker.draining import Draining
from inference.worker.engine_watch import EngineWatch
from inference.worker.host import WorkerHost
from inference.worker.mirror import Mirror
from inference.worker.newcomers import Newcomers
from inference.worker.placement import Placement
from inference.worker.registry import Registry
from inference.worker.replica import Replica
from inference.worker.replies import Replies
from inference.worker.residency import Residency
from inference.worker.running import Runner
from inference.worker.watchdog import Watchdog
from portal.kit import ids

log = logging.getLogger(__name__)

# A task only hands its call over to the engine, so a few threads carry any number of calls.
THREADS = 8
FLUSH_SECONDS = 10.0
ENGINE_SECONDS = 5.0


def new_client() -> "redis.Redis":
    """A client that rides out a short loss of Redis by itself (about three seconds)."""
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=6)
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5, health_check_interval=15, retry=retry
    )


class WorkerProcess:
    """One worker on one device. `run` returns when it has been told to stop and has finished its calls."""

    def __init__(self, app: Celery, *, device: str, memory_bytes: int) -> None:
        self.id: UUID = ids.uuid7()
        device = devices.choose(device)
        budget = devices.memory_bytes(device, limit=memory_bytes)
        client = new_client()
        queue = configure(app, self.id)
        self.celery = app.Worker(
            hostname=f"worker-{self.id.hex}@{socket.gethostname()}", pool="threads", concurrency=THREADS, queues=[queue], loglevel="WARNING",
            quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True,
        )  # fmt: skip
        self.calls = Calls()
        self.host = WorkerHost(memory_bytes=budget)
        self.consuming = Consuming(self.celery, host=self.host)
        self.replies = Replies(client, calls=self.calls, worker_id=self.id.hex)
        self.replies.on_finished = self.consuming.wake
        self.runner = Runner(
            client, app=app, host=self.host, calls=self.calls, replies=self.replies, worker_id=self.id.hex
        )
        self.residency = Residency(
            client, app=app, device=device, host=self.host, consuming=self.consuming, replies=self.replies,
            runner=self.runner,
        )  # fmt: skip
        self.registry = Registry(client, worker_id=self.id, device=device, host=self.host)
        self.mirror = Mirror(worker_id=self.id, device=device, memory_bytes=budget)
        self.control = Control(client, worker_id=self.id, calls=self.calls, host=self.host)
        self.placement = Placement(
            client, worker_id=self.id, host=self.host, registry=self.registry,
            load=self.residency.load, refuse=self.residency.refuse,
        )  # fmt: skip
        self.draining = Draining(
            calls=self.calls, consuming=self.consuming, placement=self.placement, registry=self.registry,
            seconds=settings.WORKER_DRAIN_SECONDS,
        )  # fmt: skip
        self.engine_watch = EngineWatch(
            client, host=self.host, calls=self.calls, replies=self.replies,
            step_seconds=settings.WORKER_STEP_SECONDS, restart=self.draining.restart,
        )  # fmt: skip
        self.newcomers = Newcomers(
            client, host=self.host, calls=self.calls, consuming=self.consuming, runner=self.runner
        )
        self.watchdog = Watchdog(self.celery, app=app, client=client, queue=queue)
        self.host.on_change(self._on_change)
        self.registry.on_beat = self._on_beat
        self._client = client
        self._queue = queue

    def run(self) -> None:
        """Serve until told to stop."""
        self.runner.register()
        self.watchdog.register()
        self.mirror.start()
        self.replies.start()
        self.registry.start()
        self.control.start()
        self.engine_watch.start()
        self.newcomers.start()
        self.placement.start()
        threading.Thread(target=loading.warm_up, name="warm-up", daemon=True).start()
        log.info("worker %s serves from %s", self.id.hex, self.registry.state().device)
        worker_ready.connect(self._take_signals, weak=False)
        try:
            self.celery.start()
        finally:
            self._close()

    def _take_signals(self, **_: object) -> None:
        self.draining.install()
        self.consuming.sync()

    def _on_change(self, replica: Replica) -> None:
        self.registry.beat_soon()
        self.mirror.note(replica)
        self.consuming.sync()

    def _on_beat(self) -> None:
        self.consuming.sync()
        self.watchdog.check()

    def _close(self) -> None:
        self.placement.stop(timeout=1.0)
        self.control.stop()
        self.newcomers.stop()
        self.engine_watch.stop()
        for replica in self.host.all():
            self.host.unload(replica, timeout=ENGINE_SECONDS)
        self.replies.stop(timeout=FLUSH_SECONDS)
        self._client.delete(self._queue)
        self.registry.stop()
        self.mirror.stop(reason="stopped", timeout=5.0)
        log.info("worker %s has stopped", self.id.hex)
