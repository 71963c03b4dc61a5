"""Celery consumers have been seen connected and yet deaf after a reconnect; this notices and mends it."""

import logging
import os
import time
from typing import Any

import redis
from celery import Celery

log = logging.getLogger(__name__)

PULSE_TASK = "inference.pulse"
PULSE_SECONDS = 5.0
DEAF_SECONDS = 20.0
HOPELESS_SECONDS = 90.0


class Watchdog:
    """Sends this worker a task through its own queue and expects to run it."""

    def __init__(self, worker: Any, *, app: Celery, client: "redis.Redis", queue: str) -> None:
        self._worker = worker
        self._app = app
        self._client = client
        self._queue = queue
        self._sent_at: float | None = None
        self._next_at = time.monotonic()
        self._mended_at = 0.0

    def register(self) -> None:
        """Make the pulse a task of this process."""
        heard = self._heard

        @self._app.task(name=PULSE_TASK, ignore_result=True, acks_late=False, lazy=False)
        def _pulse() -> None:
            heard()

    def check(self) -> None:
        """Call this with every beat. Reconnects a deaf consumer; ends the process if that does not help."""
        now = time.monotonic()
        if self._sent_at is None:
            if now >= self._next_at:
                self._send(now)
        elif (
            now - self._sent_at > DEAF_SECONDS
            and now - self._mended_at > DEAF_SECONDS
            and self._is_redis_there()
        ):
            if now - self._sent_at > HOPELESS_SECONDS:
                log.critical("the consumer stays deaf; leaving it to the supervisor to start anew")
                os._exit(70)
            log.error("the consumer is connected but hears nothing; reconnecting it")
            self._mended_at = now
            self._worker.hub.call_soon(_lose_connection)

    def _send(self, now: float) -> None:
        self._sent_at = now  # before it is sent: it may be heard before `send_task` returns
        try:
            self._app.send_task(PULSE_TASK, queue=self._queue, retry=False)
        except Exception as error:  # kombu wraps what its transport raises in several classes
            log.warning("no pulse: %s", error)
            self._heard()

    def _heard(self) -> None:
        self._sent_at = None
        self._next_at = time.monotonic() + PULSE_SECONDS

    def _is_redis_there(self) -> bool:
        try:
            return bool(self._client.ping())
        except redis.RedisError:
            # An outage is no deafness: count from its end.
            self._sent_at = time.monotonic()
            return False


def _lose_connection(*_: Any) -> None:
    """What the event loop takes for a lost connection, so that Celery builds a new one."""
    raise ConnectionError("the consumer was deaf")
