"""`manage.py jobs`: trials and housekeeping, each task in a child process of its own."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Runs jobs: every task in a fresh child process, so that limits hold and memory returns."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=2, help="jobs at a time (default: 2)")

    def handle(self, *args: Any, concurrency: int, **options: Any) -> None:
        from inference.worker.celery_settings import quieten
        from portal.celery import app

        quieten()
        app.worker_main(
            ["worker", "--queues=jobs", "--pool=prefork", f"--concurrency={concurrency}", "--max-tasks-per-child=1",
             "--hostname=jobs@%h", "--loglevel=WARNING", "--without-gossip", "--without-mingle",
             "--without-heartbeat"]
        )  # fmt: skip
