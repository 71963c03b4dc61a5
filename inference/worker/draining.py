"""The end of a worker: take no more, finish what was taken, and only then let Celery stop.

Celery's own warm shutdown leaves its last BRPOP unread while the pool drains, so a message it had already
been given would sit there. Here the event loop keeps running until every gate is closed.
"""

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any

from celery.worker import state

from inference.worker.calls import Calls
from inference.worker.consuming import Consuming
from inference.worker.placement import Placement
from inference.worker.registry import Registry
from portal.kit import supervision

log = logging.getLogger(__name__)

GATE_SECONDS = 5.0
# Ctrl-C reaches a process twice where its supervisor passes the signal on; that is no second wish.
SAME_WISH_SECONDS = 2.0


class Draining:
    """Started by SIGTERM or SIGINT; a second signal ends the process without waiting. Calls that last longer
    than `seconds` are cut off.
    """

    def __init__(
        self, *, calls: Calls, consuming: Consuming, placement: Placement, registry: Registry, seconds: float
    ) -> None:
        self._calls = calls
        self._consuming = consuming
        self._placement = placement
        self._registry = registry
        self._seconds = seconds
        self._begun_at: float | None = None
        self._restart_reason: str | None = None

    def install(self) -> None:
        """Take the signals over from Celery. Only on the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def begin(self) -> None:
        """Drain on a thread, since the event loop has to go on meanwhile."""
        if self._begun_at is None:
            self._begun_at = time.monotonic()
            threading.Thread(target=self._drain, name="draining", daemon=True).start()

    def restart(self, reason: str) -> None:
        """Drain, then end the process in a way that its supervisor takes for a failure."""
        self._restart_reason = self._restart_reason or reason
        self.begin()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._begun_at is not None and time.monotonic() - self._begun_at > SAME_WISH_SECONDS:
            _tell_celery(should_terminate=True)
        self.begin()

    def _drain(self) -> None:
        try:
            self._finish_calls()
        finally:
            if self._restart_reason is not None:
                self._registry.stop()
                supervision.bring_down(self._restart_reason)
            _tell_celery(should_terminate=False)
            self._consuming.nudge()

    def _finish_calls(self) -> None:
        log.info("stopping: no more calls are taken")
        self._registry.stopping = True
        self._registry.beat_soon()
        self._placement.stop(timeout=1.0)
        if not self._consuming.stop(timeout=GATE_SECONDS):
            log.warning("some queues were still being read when stopping")
        if not self._consuming.wait_handed_over(timeout=GATE_SECONDS):
            log.warning("some messages had not reached their engines when stopping")
        if not self._calls.wait_until_none(timeout=self._seconds):
            log.warning("%d calls were cut off by stopping", len(self._calls.all()))


def _tell_celery(*, should_terminate: bool) -> None:
    """Set the exit status that its event loop looks for: terminate at once, or stop."""
    wishes: Any = state
    if should_terminate:
        wishes.should_terminate = 1
    else:
        wishes.should_stop = 0
