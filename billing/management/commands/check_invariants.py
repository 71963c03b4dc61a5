"""`manage.py check_invariants`: are the books in order?"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import invariants


class Command(BaseCommand):
    """Exits with 1 and a line per breach if they are not."""

    help = "Check that ledger, rated lines, rollups and usage events agree."

    def handle(self, *args: Any, **options: Any) -> None:
        found = invariants.check()
        for violation in found:
            self.stderr.write(f"{violation.invariant}: {violation.what}")
        if found:
            raise CommandError(f"{len(found)} breaches.")
        self.stdout.write(f"{len(invariants.ALL)} invariants hold.")
