"""`manage.py jobs`: trials and housekeeping, each task in a child process of its own."""

import socket
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.kit import redis_fitness


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Runs jobs: every task in a fresh child process, so that limits hold and memory returns."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=2, help="jobs at a time (default: 2)")

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        redis_fitness.require_or_exit()
        from inference.worker.celery_settings import quieten
        from portal.celery import app

        quieten()
        worker = app.Worker(
            hostname=f"jobs@{socket.gethostname()}", pool="prefork", concurrency=concurrency, queues=["jobs"],
            max_tasks_per_child=1, loglevel="WARNING", quiet=True, without_gossip=True, without_mingle=True,
            without_heartbeat=True,
        )  # fmt: skip
        worker.start()
        sys.exit(worker.exitcode)
