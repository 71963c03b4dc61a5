"""How our processes use Celery."""

import logging
import warnings
from uuid import UUID

from celery import Celery
from celery.signals import setup_logging
from kombu import Queue


def configure(app: Celery, worker_id: UUID) -> str:
    """Settings for a worker process around engines; answers the name of its own queue."""
    queue = f"worker.{worker_id.hex}"
    # Payloads are the truth about calls: a lost message is sent again by who waits, so Celery's own
    # bookkeeping of unacknowledged messages, two round trips each, buys nothing here.
    options = {**app.conf.broker_transport_options, "ack_emulation": False}
    app.conf.update(
        task_queues=[Queue(queue, no_declare=True)], broker_transport_options=options, worker_disable_prefetch=True,
        worker_enable_remote_control=False, worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_max_retries=None, broker_connection_retry=True, task_acks_late=False,
    )  # fmt: skip
    quieten()
    return queue


def quieten() -> None:
    """Leave logging as the settings have it, without two lines per task."""
    setup_logging.connect(_keep_logging, weak=False)
    for noisy in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It warns root of pickled messages; only JSON is accepted here.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")


def _keep_logging(**_: object) -> None:
    """Celery configures logging unless somebody has taken that upon them."""
