"""Threads and tasks that a process cannot serve without.

Whatever leaves one is logged, a panic of native code included (which is no `Exception`), and it begins again after a
moment. One that keeps leaving brings the process down: whoever supervises the process starts it again. In between
`failing` names it, so that `/readyz` can say so.
"""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

FAILURES_ALLOWED = 5
WITHIN_SECONDS = 60.0
PAUSE_SECONDS = 0.2
# How long after its last failure a service is said to be failing.
WELL_AFTER_SECONDS = 5.0

# When each service of this process last failed.
_failed_at: dict[str, float] = {}


def thread(serve: Callable[[], None], *, name: str) -> threading.Thread:
    """A daemon thread, not yet started, that runs `serve` until it returns."""
    return threading.Thread(target=run, args=(serve,), kwargs={"name": name}, name=name, daemon=True)


def run(serve: Callable[[], None], *, name: str) -> None:
    """Run `serve` on this thread until it returns, again after every failure."""
    failures = _Failures(name)
    while True:
        try:
            return serve()
        except BaseException as error:
            failures.note(error)
        time.sleep(PAUSE_SECONDS)


async def keep(serve: Callable[[], Awaitable[None]], *, name: str) -> None:
    """Await `serve()` until it returns or this task is cancelled, again after every failure."""
    failures = _Failures(name)
    while True:
        try:
            return await serve()
        except GeneratorExit:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            # A cancellation of something that it waited for is a failure like another one.
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            failures.note(error)
        await asyncio.sleep(PAUSE_SECONDS)


def failing() -> list[str]:
    """The services of this process that failed a moment ago."""
    since = time.monotonic() - WELL_AFTER_SECONDS
    return sorted(name for name, at in _failed_at.items() if at > since)


def bring_down(reason: str) -> None:
    """End this process at once, so that it is started again."""
    log.critical("%s; leaving it to the supervisor to start this process again", reason)
    os._exit(os.EX_SOFTWARE)


@dataclass(slots=True)
class _Failures:
    """When one service failed of late."""

    name: str
    times: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES_ALLOWED))

    def note(self, error: BaseException) -> None:
        now = _failed_at[self.name] = time.monotonic()
        self.times.append(now)
        log.error("the service %s failed and begins again", self.name, exc_info=error)
        if len(self.times) == FAILURES_ALLOWED and now - self.times[0] < WITHIN_SECONDS:
            bring_down(f"the service {self.name} fails time after time")
