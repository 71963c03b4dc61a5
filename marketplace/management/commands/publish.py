"""`manage.py publish DIR --listing OWNER/SLUG`: a folder becomes the next version of a listing."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from marketplace.management.releasing import ReleaseCommand


class Command(ReleaseCommand):
    help = "Release a folder with a model as the next version of a listing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path)
        super().add_arguments(parser)

    def handle(self, *, directory: Path, **options: Any) -> None:
        if not directory.is_dir():
            raise CommandError(f"{directory} is no folder.")
        self.release(directory, options)
