"""`manage.py meter`: usage from Redis to Postgres, and the reaping of lapsed calls. Run as many as you like."""

import signal
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from billing.meter import Meter, spare_collector
from portal.kit import redis_fitness


class Command(BaseCommand):
    """Stops on SIGTERM or SIGINT after the batch at hand."""

    help = "Drain the usage stream into Postgres and end calls whose web process died."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--batch", type=int, default=5000, help="Most events in one transaction.")

    def handle(self, *args: Any, **options: Any) -> None:
        redis_fitness.require_or_exit()
        meter = Meter(batch=options["batch"])

        def stop(signum: int, frame: FrameType | None) -> None:
            meter.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        spare_collector()
        meter.run()
