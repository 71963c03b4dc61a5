"""`manage.py beat`: the schedule. Start as many as you like; one is active, the others wait for it to go."""

from typing import Any

from django.core.management.base import BaseCommand

from portal.kit import redis_fitness


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Sends what is due to the jobs queue. Only one is active at a time."

    def handle(self, *args: Any, **options: Any) -> None:
        redis_fitness.require_or_exit()
        from inference.worker.beating import run
        from portal.celery import app

        run(app)
