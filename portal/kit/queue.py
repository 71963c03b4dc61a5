"""Enqueue work by name, after the transaction commits, so that activities never import tasks."""

from typing import Any

from django.db import transaction

from portal.celery import app


def enqueue(name: str, *args: Any, queue: str = "jobs") -> None:
    """Send the task `name` once the current transaction has committed. `args` are JSON."""
    transaction.on_commit(lambda: app.send_task(name, args=args, queue=queue))
