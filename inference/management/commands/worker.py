"""`manage.py worker`: serve versions from one device."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.kit import redis_fitness


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Serves versions from one device: loads them on demand and runs the calls of their queues."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: auto)")
        parser.add_argument(
            "--memory-bytes", type=int, default=settings.WORKER_MEMORY_BYTES,
            help="what all its replicas may use together (default: most of what is free)",
        )  # fmt: skip

    def handle(self, *args: Any, device: str, memory_bytes: int, **options: Any) -> None:
        redis_fitness.require_or_exit()
        from inference.worker.serving import WorkerProcess
        from portal.celery import app

        try:
            process = WorkerProcess(app, device=device, memory_bytes=memory_bytes)
        except ValueError as error:
            raise CommandError(str(error)) from error
        process.run()
