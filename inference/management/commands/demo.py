"""`manage.py demo`: build the demo world, or what is missing of it."""

import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    requires_system_checks = ()
    help = (
        "Builds the demo world from real models and calls, whatever MERCATO_DEMO says: that is for `make up`, and "
        "whoever runs this wants it. Run it again to go on where it stopped."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        from inference.demo.building import build
        from inference.demo.publishing import DemoIncomplete
        from inference.training.progress import TrainingCancelled

        stopped = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopped.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        try:
            build(say=self.stdout.write, cancelled=stopped.is_set)
        except TrainingCancelled:
            self.stdout.write("Stopped; the next run goes on from here.")
        except DemoIncomplete as error:
            raise CommandError(str(error)) from error
