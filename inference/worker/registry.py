"""What a worker says of itself: a lease in Redis, renewed with every beat and gone when the worker is."""

import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import cast
from uuid import UUID

import redis

from inference import protocol
from inference.protocol import WorkerState
from inference.worker.host import WorkerHost
from portal.kit import supervision
from portal.kit.redis import EVEN_IF_FULL, is_away, is_passing

log = logging.getLogger(__name__)

# How long a worker that starts waits for a Redis that answers and takes no writes.
START_SECONDS = 60.0
# Far longer than a beat ever takes, also while Redis is away: native code keeps all other code from running.
STALL_SECONDS = 90.0

# A worker is no less alive for a Redis that is full, and its calls should come to their ends.
_BEAT = f"""{EVEN_IF_FULL}
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[3])
"""


class Registry:
    """Renews this worker's lease from a thread of its own; a change shows at once through `beat_soon`."""

    def __init__(self, client: "redis.Redis", *, worker_id: UUID, device: str, host: WorkerHost) -> None:
        self._client = client
        self._worker_id = worker_id.hex
        self._device = device
        self._host = host
        self._started_at = time.time()
        self._soon = threading.Event()
        self._ended = False
        self._thread = supervision.thread(self._beat_on, name="registry")
        self.stopping = False
        self.on_beat: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Announce the worker, once Redis takes writes. Raises a Redis error if that cannot be done."""
        patience_until = time.monotonic() + START_SECONDS
        while not self._has_announced(patience_until):
            time.sleep(protocol.BEAT_SECONDS)
        self._thread.start()

    def _has_announced(self, patience_until: float) -> bool:
        try:
            self._beat()
        except redis.RedisError as error:
            # The next worker would meet the same full disk, after a longer and longer wait.
            if not is_passing(error) or is_away(error) or time.monotonic() > patience_until:
                raise
            log.warning("this worker waits for Redis: %s", error)
            return False
        return True

    def beat_soon(self) -> None:
        self._soon.set()

    def stop(self) -> None:
        """Take the worker out of the registry."""
        self._ended = True
        self._soon.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        try:
            self._client.delete(
                protocol.worker_key(self._worker_id), protocol.control_stream(self._worker_id)
            )
            self._client.srem(protocol.WORKERS, self._worker_id)
        except redis.RedisError as error:
            log.warning("the lease is left to expire: %s", error)

    def state(self) -> WorkerState:
        return WorkerState(
            id=self._worker_id, host=socket.gethostname(), pid=os.getpid(), device=self._device,
            memory_bytes=self._host.memory_bytes, free_bytes=self._host.free_bytes,
            started_at=self._started_at, stopping=self.stopping, replicas=self._host.describe(),
        )  # fmt: skip

    def _beat_on(self) -> None:
        while not self._ended:
            # By a thread of C: it ends the process also where Python itself stands still.
            faulthandler.dump_traceback_later(STALL_SECONDS, exit=True)
            self._soon.wait(protocol.BEAT_SECONDS)
            self._soon.clear()
            if self._ended:
                return
            try:
                self._beat()
            except redis.RedisError as error:
                log.warning("no beat: %s", error)
                time.sleep(protocol.BEAT_SECONDS)
            self.on_beat()

    def _beat(self) -> None:
        lease_ms = int(protocol.WORKER_LEASE_SECONDS * 1000)
        keys = (protocol.worker_key(self._worker_id), protocol.WORKERS)
        self._client.eval(_BEAT, 2, *keys, protocol.pack(self.state()), lease_ms, self._worker_id)


def read_workers(client: "redis.Redis") -> list[WorkerState]:
    """The workers whose leases hold; ids whose leases have lapsed are dropped from the set."""
    members = cast("set[bytes]", client.smembers(protocol.WORKERS))
    ids = sorted(member.decode() for member in members)
    leases = cast(
        "list[bytes | None]", client.mget([protocol.worker_key(identity) for identity in ids]) if ids else []
    )
    lapsed = [identity for identity, lease in zip(ids, leases, strict=True) if lease is None]
    if lapsed:
        client.srem(protocol.WORKERS, *lapsed)
    return [protocol.read_worker_state(lease) for lease in leases if lease is not None]
