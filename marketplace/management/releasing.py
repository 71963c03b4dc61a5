"""What the commands that make versions share: whose listing, the printed report, the exit code.

Exit codes: 0 released (or released already), 1 wrong arguments, 2 refused by validation, 3 refused by the
worker that tried it, 4 still being tried when waiting ended.
"""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marketplace import folders, publishing, quota
from marketplace.errors import VersionExists
from marketplace.models import Listing, Task, Version
from marketplace.validation import Report
from portal.accounts import membership
from portal.accounts.models import Organisation, Role, User
from portal.kit.errors import PortalError

REFUSED, REFUSED_BY_TRIAL, STILL_CHECKING = 2, 3, 4
WAIT_SECONDS = 900
POLL_SECONDS = 0.25


class ReleaseCommand(BaseCommand):
    """Releases a folder as the next version of a listing."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--listing", required=True, metavar="OWNER/SLUG")
        parser.add_argument(
            "--as", dest="email", help="Who does it; otherwise the owner of the organisation."
        )
        parser.add_argument("--create", action="store_true", help="Make the listing if there is none.")
        parser.add_argument("--name", help="Its name, with --create.")
        parser.add_argument(
            "--task", choices=Task.values, help="Its task, with --create; else the files tell."
        )
        parser.add_argument("--notes", default="", help="What is new in this version.")
        parser.add_argument("--wait", action="store_true", help="Wait until a worker has tried it.")

    def release(self, folder: Path, options: dict[str, Any]) -> None:
        """Examine, store, release, report. Raises `CommandError` with the exit code."""
        try:
            owner, by = _find_party(options["listing"], options["email"])
            listing = _find_listing(owner, options)
            report = folders.examine(folder, task=listing.task if listing else options["task"])
            self._print(report)
            if not report.ok or report.facts is None:
                raise CommandError("Refused: correct the errors above.", returncode=REFUSED)
            quota.require_room(owner, size=folders.size_of(folder, report))
            listing = listing or _create(owner, by=by, task=report.facts.task, options=options)
            version = folders.release(folder, report, listing=listing, by=by, notes=options["notes"])
        except VersionExists as same:
            self.stdout.write(str(same))
            return
        except PortalError as refusal:
            raise CommandError(str(refusal)) from refusal
        self._conclude(_wait(version) if options["wait"] else version, has_waited=options["wait"])

    def refuse_early(self, options: dict[str, Any], *, size: int) -> None:
        """Raise the `PortalError` or `CommandError` that `release` would, as far as a size alone tells."""
        owner, by = _find_party(options["listing"], options["email"])
        membership.require(by, owner, "publish")
        _find_listing(owner, options)
        quota.require_room(owner, size=size)

    def _conclude(self, version: Version, *, has_waited: bool) -> None:
        name = f"{version.listing.path} version {version.number}"
        if version.state == Version.State.REFUSED:
            for finding in version.report["findings"]:
                if finding["severity"] == "error":
                    self.stdout.write(
                        f"error    {finding['file']}: {finding['message']} {finding['remedy']}".rstrip()
                    )
            raise CommandError(f"{name} was refused when it was tried.", returncode=REFUSED_BY_TRIAL)
        if version.state == Version.State.CHECKING and has_waited:
            raise CommandError(
                f"{name} is still being tried. Is a worker running?", returncode=STILL_CHECKING
            )
        done = "is ready" if version.state == Version.State.READY else "is stored; a worker tries it next"
        self.stdout.write(self.style.SUCCESS(f"{name} {done}."))

    def _print(self, report: Report) -> None:
        for finding in report.findings:
            line = f"{finding.severity:8} {finding.file}: {finding.message} {finding.remedy}".rstrip()
            self.stdout.write(self.style.ERROR(line) if finding.severity == "error" else line)
        if report.facts is None:
            return
        facts = report.facts
        self.stdout.write(
            f"{facts.architecture}, {facts.task}, {facts.parameter_count:,} parameters, "
            f"{facts.weight_bytes:,} bytes of weights, {facts.memory_bytes:,} bytes when loaded"
        )


def _find_party(path: str, email: str | None) -> tuple[Organisation, User]:
    owner = Organisation.objects.filter(slug=path.partition("/")[0]).first()
    if owner is None or path.count("/") != 1:
        raise CommandError(f"--listing must be OWNER/SLUG of an organisation that exists, not {path!r}.")
    members = User.objects.filter(memberships__organisation=owner, is_active=True)
    chosen = members.filter(email__iexact=email) if email else members.filter(memberships__role=Role.OWNER)
    by = chosen.order_by("date_joined").first()
    if by is None:
        raise CommandError(f"{owner.slug} has no {'member ' + email if email else 'owner'}.")
    return owner, by


def _find_listing(owner: Organisation, options: dict[str, Any]) -> Listing | None:
    slug = options["listing"].partition("/")[2]
    listing = Listing.objects.filter(organisation=owner, slug=slug).first()
    if listing is None and not options["create"]:
        raise CommandError(f"There is no listing {options['listing']}. Add --create to make it.")
    return listing


def _create(owner: Organisation, *, by: User, task: str, options: dict[str, Any]) -> Listing:
    slug = options["listing"].partition("/")[2]
    return publishing.create_listing(owner, by=by, slug=slug, name=options["name"] or slug, task=task)


def _wait(version: Version) -> Version:
    deadline = time.monotonic() + WAIT_SECONDS
    while version.state == Version.State.CHECKING and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        version.refresh_from_db(fields=["state", "report"])
    return version
