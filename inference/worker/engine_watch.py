"""Sees engines whose thread has ended, or stands still in a step, and takes their versions out of service.

Their calls end as failed, the version is quarantined, and no worker loads it until that is over. A thread that stands
still cannot be ended, so then the whole worker lets its other calls finish and starts again.
"""

import logging
import threading
from collections.abc import Callable

import redis

from inference import quarantine
from inference.worker.calls import Calls
from inference.worker.host import WorkerHost
from inference.worker.replica import Replica
from inference.worker.replies import Replies
from portal.kit import supervision

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
MESSAGE = "The model's engine failed while it ran this call."


class EngineWatch:
    """Looks on a thread of its own. `restart(reason)` is to end this process once its other calls are over."""

    def __init__(
        self, client: "redis.Redis", *, host: WorkerHost, calls: Calls, replies: Replies, step_seconds: float,
        restart: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._client = client
        self._host = host
        self._calls = calls
        self._replies = replies
        self._step_seconds = step_seconds
        self._restart = restart
        self._ended = threading.Event()
        self._thread = supervision.thread(self._look_on, name="engine-watch")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(LOOK_SECONDS * 4)

    def look(self) -> None:
        """One look at every engine."""
        for replica in self._host.all():
            engine = replica.engine
            if engine is None:
                continue
            health = engine.health()
            if health.failure is not None:
                self._take_out(replica, kind="engine_failed", detail=health.failure)
            elif health.step_seconds > self._step_seconds:
                detail = f"A step had not returned after {health.step_seconds:.0f} s."
                self._take_out(replica, kind="step_hung", detail=detail)
                self._restart(f"a step of version {replica.version} hangs")

    def _look_on(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look()

    def _take_out(self, replica: Replica, *, kind: quarantine.Kind, detail: str) -> None:
        version = replica.version
        log.error("version %s is taken out of service: %s", version, detail)
        try:
            # First of all: else its queue would make somebody load it again.
            quarantine.begin(self._client, version, kind=kind, detail=detail)
        except redis.RedisError as error:
            log.warning("version %s could not be quarantined: %s", version, error)
        engine = replica.engine
        self._host.condemn(replica, error=detail)
        for call in self._calls.all():
            if call.version == version:
                self._replies.fail(call, MESSAGE)
        if engine is not None:
            engine.close(drain=False, timeout=0)
