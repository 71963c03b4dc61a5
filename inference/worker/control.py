"""Cancellations: the web processes write them to this worker's control stream."""

import logging
import time
from typing import cast
from uuid import UUID

import redis

from inference import protocol
from inference.worker.calls import Calls
from inference.worker.host import WorkerHost
from portal.kit import supervision

Entries = list[tuple[bytes, dict[bytes, bytes]]]

log = logging.getLogger(__name__)


class Control:
    """Reads the control stream on a thread of its own and tells engines to stop."""

    def __init__(self, client: "redis.Redis", *, worker_id: UUID, calls: Calls, host: WorkerHost) -> None:
        self._client = client
        self._stream = protocol.control_stream(worker_id.hex)
        self._calls = calls
        self._host = host
        self._ended = False
        self._thread = supervision.thread(self._read_on, name="control")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended = True

    def cancel(self, request: str) -> None:
        """Stop a call within a few steps. One that has not come yet is stopped when it comes."""
        # Noted before all else: whoever submits the call looks afterwards, so one of the two stops it.
        self._calls.note_cancel(request)
        call = self._calls.find(request)
        if call is None:
            return
        replica = self._host.find(call.version)
        if replica is not None and replica.engine is not None:
            replica.engine.cancel(request)

    def _read_on(self) -> None:
        while not self._ended:
            try:
                self._read()
            except redis.RedisError as error:
                log.warning("cancellations wait for Redis: %s", error)
                time.sleep(0.2)

    def _read(self) -> None:
        answer = self._client.xread({self._stream: b"0-0"}, count=500, block=1000)
        for _, entries in cast("list[tuple[bytes, Entries]]", answer or []):
            for _, fields in entries:
                self.cancel(fields[b"cancel"].decode())
            self._client.xdel(self._stream, *(entry_id for entry_id, _ in entries))
