"""Lets organisations that have less than their share of a full engine in, beyond its slots.

A full engine's queue is left alone until a call ends, which may take as long as the longest answer. So while it is
full, somebody looks several times a second who waits, and gives each its share of the slots at once; the engine then
lets them take turns with those who have more. Who is alone has all slots. Beyond twice its slots an engine takes
nothing.
"""

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

import redis

from inference.worker import turns
from inference.worker.calls import Calls
from inference.worker.consuming import Consuming
from inference.worker.host import WorkerHost
from inference.worker.replica import Replica
from portal.kit import supervision

if TYPE_CHECKING:
    from inference.worker.running import Runner

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
RETRY_SECONDS = 1.0


class Newcomers:
    """Looks on a thread of its own."""

    def __init__(
        self, client: "redis.Redis", *, host: WorkerHost, calls: Calls, consuming: Consuming, runner: "Runner"
    ) -> None:
        self._client = client
        self._host = host
        self._calls = calls
        self._consuming = consuming
        self._runner = runner
        self._ended = threading.Event()
        self._thread = supervision.thread(self._look_on, name="newcomers")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(LOOK_SECONDS * 10)

    def look(self) -> None:
        """One look at every full engine."""
        for replica in self._host.all():
            if replica.state == "ready" and not replica.has_room() and not self._consuming.is_stopping:
                self._let_in(replica)

    def _look_on(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.look()
            except redis.RedisError as error:
                log.warning("newcomers wait for Redis: %s", error)
                self._ended.wait(RETRY_SECONDS)

    def _let_in(self, replica: Replica) -> None:
        waiting = turns.read_waiting(self._client, replica.version)
        if not waiting:
            return
        owners = Counter(call.owner for call in self._calls.all() if call.version == replica.version)
        for organisation in waiting:
            capacity = replica.capacity()
            share = max(1, capacity.slots // len(owners.keys() | set(waiting)))
            places = min(share - owners[organisation], 2 * capacity.slots - capacity.busy)
            for _ in range(places):
                if not self._runner.run_next_of(organisation, replica):
                    break
