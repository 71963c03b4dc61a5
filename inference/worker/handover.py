"""How a message becomes a call: Celery's pool carries it out, without what Celery does around a task.

Its default strategy makes a request object of a message, acknowledges it in another round of the event loop, and
traces the task for results, events, retries and time limits. A call has no use for any of that, and it was a quarter
of what a worker did on the engine's core beside the engine.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from celery.exceptions import InvalidTaskError

from inference import protocol
from inference.worker.host import WorkerHost

log = logging.getLogger(__name__)

OnMessage = Callable[..., None]


class Run(Protocol):
    """Runs the call that a message of a version's queue was sent for; `token` is the message's own."""

    def __call__(self, version: str, request: str, *, attempt: int, token: str) -> None: ...


class Handover:
    """A `celery.Task.Strategy` for the task `inference.run`. Its messages must come without acknowledgement."""

    def __init__(self, run: Run, *, host: WorkerHost) -> None:
        self._run = run
        self._host = host

    def __call__(self, task: Any, app: Any, consumer: Any) -> OnMessage:
        """What Celery's consumer calls with every message: on the event loop's thread, so nothing waits here."""
        pool = consumer.pool

        def on_message(message: Any, *_: Any) -> None:
            version, request, attempt, token = read(message)
            self._host.reserve(version, token)
            try:
                pool.apply_async(self._carry_out, (version, request, attempt, token), callback=_ignore)
            except BaseException:
                self._host.release(version, token)
                raise

        return on_message

    def _carry_out(self, version: str, request: str, attempt: int, token: str) -> None:
        try:
            self._run(version, request, attempt=attempt, token=token)
        except BaseException:
            # Whoever waits for the call sends another message if it is still to be run.
            log.exception("a message for request %s came to nothing", request)


def read(message: Any) -> tuple[str, str, int, str]:
    """The version, the request, the number of the attempt and the token. Raises `InvalidTaskError` and what decoding
    raises, which Celery logs; any other error would end its event loop.
    """
    payload = message.payload
    try:
        arguments, *_ = payload
        request, attempt = arguments if len(arguments) == 2 else (*arguments, 0)
        version = protocol.version_of(message.delivery_info["routing_key"])
        return version, str(request), int(attempt), str(message.headers["id"])
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise InvalidTaskError(f"{protocol.RUN_TASK} takes a request and an attempt: {error}") from error


def _ignore(_: object) -> None:
    """There is no result."""
