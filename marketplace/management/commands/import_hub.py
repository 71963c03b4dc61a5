"""`manage.py import_hub REPO --listing OWNER/SLUG`: a model of a hub becomes the next version of a listing."""

import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from marketplace import importing
from marketplace.management.releasing import ReleaseCommand
from portal.kit import private
from portal.kit.errors import PortalError


class Command(ReleaseCommand):
    help = "Fetch a model from a hub (HF_ENDPOINT) and release it as the next version of a listing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("repository", metavar="OWNER/NAME")
        parser.add_argument("--revision", help="A branch, tag or commit.")
        parser.add_argument(
            "--allow", nargs="+", default=[], metavar="PATTERN", help="Fetch only files that match one."
        )
        super().add_arguments(parser)

    def handle(self, *, repository: str, revision: str | None, allow: list[str], **options: Any) -> None:
        place = Path(settings.HOME) / "imports"
        private.make_folder(place)
        with tempfile.TemporaryDirectory(dir=place) as folder:
            try:
                found = importing.look(repository, revision=revision, allow=allow)
                self.refuse_early(options, size=found.size)
                importing.fetch(found, into=Path(folder))
            except PortalError as problem:
                raise CommandError(str(problem)) from problem
            self.stdout.write(f"Fetched {repository} at {found.commit}.")
            if found.left_out:
                self.stdout.write(f"Left out, as safetensors alone are taken: {', '.join(found.left_out)}.")
            options["notes"] = options["notes"] or f"Imported from {repository} at {found.commit}."
            self.release(Path(folder), options)
