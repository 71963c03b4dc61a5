"""Which queues this worker consumes, and how much of each: a gate per resident version.

Celery's own consumer has one prefetch limit for all queues, so one full engine would stop them all, and
adding a queue to it waits for its pending BRPOP. So every resident version has a channel of its own on
Celery's connection: before each BRPOP kombu asks the channel whether it may consume, and the answer is
whether that version's engine has a free slot. Messages go to Celery's own handler as usual.
"""

import logging
import threading
import time
from typing import Any

from kombu import Consumer, Queue

from inference.protocol import queue_name
from inference.worker.host import WorkerHost

log = logging.getLogger(__name__)

# How long an idle BRPOP stays pending: the longest that closing a gate has to wait.
BRPOP_SECONDS = 0.25


class Gate:
    """The consumer of one version's queue. Lives on the event loop's thread."""

    def __init__(self, version: str, *, connection: Any, on_message: Any, host: WorkerHost) -> None:
        self.version = version
        self.channel = connection.channel()
        self.channel.brpop_timeout = BRPOP_SECONDS
        self.channel.qos.can_consume = self._can_consume
        self._host = host
        # Producers send to the queue by name (the anonymous exchange), so there is nothing to declare. Nor is there
        # anything to acknowledge: who waits for a call sends a lost message again.
        queue = Queue(queue_name(version), no_declare=True)
        self.consumer = Consumer(self.channel, queues=[queue], on_message=on_message, no_ack=True)
        self.consumer.consume()
        self.closing = False
        # Whether its queue is left alone until a slot becomes free.
        self.waits = False

    def close_soon(self) -> None:
        """Send no further BRPOP; a message that the pending one still brings goes back to the queue."""
        if not self.closing:
            self.closing = True
            self.consumer.cancel()

    def is_quiet(self) -> bool:
        """Whether no BRPOP is pending, so that the channel can be closed without waiting."""
        return not self.channel._in_poll

    def _can_consume(self) -> bool:
        # Said before looking: a slot that becomes free meanwhile is then either seen here, or wakes the loop. And kept
        # where it was refused before, as kombu may ask twice and heed the first answer.
        waited, self.waits = self.waits, True
        if self.closing or self.has_room():
            self.waits = waited
            return True
        return False

    def has_room(self) -> bool:
        """Whether the version's engine has a slot that is neither taken nor promised. From any thread."""
        replica = self._host.find(self.version)
        return replica is not None and replica.has_room()


class Consuming:
    """Keeps the gates equal to the versions that the host serves, also after a reconnect.

    `worker` is Celery's `WorkController`, whose published types lack its hub and its consumer.
    """

    def __init__(self, worker: Any, *, host: WorkerHost) -> None:
        self._worker = worker
        self._host = host
        self._gates: dict[str, Gate] = {}
        self._connection: Any = None
        self._stopping = False
        self._changed = threading.Condition()

    def wake(self) -> None:
        """A slot may have become free: let the event loop look at its gates again, if one waits for that. Waking it
        takes as much of the core as a step of a small engine.
        """
        waiting = [gate for gate in list(self._gates.values()) if gate.waits and gate.has_room()]
        for gate in waiting:
            gate.waits = False
        if waiting:
            self.nudge()

    def nudge(self) -> None:
        """Let the event loop come round."""
        hub = self._worker.hub
        if hub is not None:
            hub.call_soon(_look_again)

    def sync(self) -> None:
        """Open and close gates on the event loop's thread, as the host's state now asks."""
        hub = self._worker.hub
        if hub is not None:
            hub.call_soon(self._reconcile)

    @property
    def is_stopping(self) -> bool:
        """Whether every gate is to be closed for good."""
        return self._stopping

    def stop(self, *, timeout: float) -> bool:
        """Close every gate for good; whether all of them were quiet within `timeout` seconds."""
        self._stopping = True
        self.sync()
        with self._changed:
            return self._changed.wait_for(lambda: not self._gates, timeout)

    def wait_handed_over(self, *, timeout: float) -> bool:
        """Wait until every message received has become a call in its engine, or none at all."""
        deadline = time.monotonic() + timeout
        while any(replica.reserved() for replica in self._host.all()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def wait_closed(self, version: str, *, timeout: float) -> bool:
        """Wait until a version that the host no longer serves is not consumed either."""
        self.sync()
        with self._changed:
            return self._changed.wait_for(lambda: version not in self._gates, timeout)

    def _reconcile(self) -> None:
        celery = self._worker.consumer
        if celery is None or celery.connection is None or getattr(celery, "task_consumer", None) is None:
            return
        if celery.connection is not self._connection:
            self._connection = celery.connection
            self._gates.clear()
        wanted = set() if self._stopping else self._host.serving()
        for version, gate in list(self._gates.items()):
            if version not in wanted:
                self._close(version, gate)
        for version in wanted - self._gates.keys():
            self._gates[version] = Gate(
                version,
                connection=celery.connection,
                host=self._host,
                on_message=celery.task_consumer.on_message,
            )
            log.info("consuming %s", queue_name(version))
        with self._changed:
            self._changed.notify_all()

    def _close(self, version: str, gate: Gate) -> None:
        gate.close_soon()
        if gate.is_quiet():
            gate.channel.close()
            del self._gates[version]
            log.info("stopped consuming %s", queue_name(version))
        else:
            self._worker.hub.call_later(0.02, self._reconcile)


def _look_again() -> None:
    """Nothing to do: having been called is what makes the loop poll its channels again."""
