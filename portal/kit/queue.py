"""Enqueue work by name, after the transaction commits, so that activities never import tasks."""

import logging
from typing import Any

import redis
from django.db import transaction
from kombu.exceptions import OperationalError

from portal.celery import app
from portal.kit.redis import is_passing

log = logging.getLogger(__name__)


def enqueue(name: str, *args: Any, queue: str = "jobs") -> None:
    """Send the task `name` once the current transaction has committed. `args` are JSON.

    A broker that is away or full fails no request whose work is done: what is enqueued is a repair of what the
    database says, and the schedule looks for that again.
    """
    transaction.on_commit(lambda: _send(name, args, queue))


def _send(name: str, args: tuple[Any, ...], queue: str) -> None:
    try:
        app.send_task(name, args=args, queue=queue)
    except (OperationalError, redis.RedisError) as error:
        if isinstance(error, redis.RedisError) and not is_passing(error):
            raise
        log.warning("%s waits for the schedule, as the broker takes nothing: %s", name, error)
