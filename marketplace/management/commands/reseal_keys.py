"""`manage.py reseal_keys`: after a new key was put first in ENCRYPTION_KEYS, and before the old one goes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marketplace import endpoints
from portal.kit.secrets import Unreadable


class Command(BaseCommand):
    help = "Encrypt the keys of remote endpoints anew under the first of ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = endpoints.reseal_keys()
        except Unreadable as error:
            raise CommandError(f"{error} Nothing was changed.") from None
        self.stdout.write(f"{count} keys are sealed under the first of ENCRYPTION_KEYS.")
