"""From a provider's files to something others can call: listings, versions, what is current."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Max

from marketplace import cards, entitlement, examinations, figures, validation, weights
from marketplace.errors import (
    ListingSlugTaken,
    NotPublishable,
    VersionExists,
    VersionNotReady,
    WeightsMissing,
)
from marketplace.models import Listing, Version, VersionFile
from marketplace.validation import Finding, LocalFile, Report
from marketplace.validation.report import error
from portal.accounts import membership, quotas
from portal.accounts.models import Organisation, User
from portal.kit import clock, epochs, names, slugs
from portal.kit.errors import Invalid, NotAllowed
from portal.kit.slugs import SlugReserved

Files = Mapping[str, tuple[str, int]]
EDITABLE = frozenset({"name", "summary", "card", "licence", "languages", "tags"})


def create_listing(
    organisation: Organisation, *, by: User, slug: str, name: str, task: str, **fields: Any
) -> Listing:
    """A draft that only its organisation sees. `fields` are those in `EDITABLE`. Raises `ListingSlugTaken`."""
    membership.require(by, organisation, "publish")
    listing = Listing(
        organisation=organisation, created_by=by, slug=slug, name=name, task=task, **_editable(fields)
    )
    _check_fields(listing)
    cards.render_into(listing)
    try:
        with transaction.atomic():
            quotas.admit(organisation, "listings", by=by, count=organisation.listings.count, what="listings")
            listing.save()
    except IntegrityError as conflict:
        raise ListingSlugTaken(owner=organisation.slug, slug=slug) from conflict
    return listing


def edit_listing(listing: Listing, *, by: User, **fields: Any) -> Listing:
    """Change what the page says; `fields` are those in `EDITABLE`."""
    membership.require(by, listing.organisation, "publish")
    changes = _editable(fields)
    for name, value in changes.items():
        setattr(listing, name, value)
    _check_fields(listing)
    rendered = cards.render_into(listing) if "card" in changes else []
    listing.save(update_fields=[*changes, *rendered])
    epochs.bump("listing", listing.pk)
    return listing


def _editable(fields: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := fields.keys() - EDITABLE:
        raise TypeError(f"a listing's {', '.join(sorted(unknown))} cannot be set")
    return dict(fields)


def _check_fields(listing: Listing) -> None:
    names.check(listing.name, what="The name")
    if listing.summary:
        names.check(listing.summary, what="The summary")
    if not slugs.skeleton(listing.slug):
        raise SlugReserved(slug=listing.slug)
    cards.check(listing.card)
    try:
        listing.clean_fields()
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise Invalid(reason=f"{name}: {messages[0]}", param=name) from error


def add_version(listing: Listing, *, by: User, files: Files, notes: str = "") -> Version:
    """Read stored files (path to SHA-256 and size) here and now, and make them the listing's next version: `refused`,
    or `checking` until it has been tried. Takes seconds, so it is nothing for a request, which leaves reading to
    `jobs`. Raises as `open_version`, and `WeightsMissing` for unknown bytes.
    """
    membership.require(by, listing.organisation, "publish")
    report = read(files, task=listing.task)
    kept = {path: files[path] for path in report.kept}
    version = open_version(listing, by=by, files=kept, notes=notes)
    return record_report(version.pk, report=report, files=files)


def read(files: Files, *, task: str) -> Report:
    """What stored files say. Raises `WeightsMissing`."""
    return validation.examine(_readable(files), task=task)


def _readable(files: Files) -> dict[str, LocalFile]:
    for sha256, _ in files.values():
        if not weights.exists(sha256):
            raise WeightsMissing(sha256=sha256)
    return {
        path: LocalFile(size=size, open=lambda sha256=sha256: weights.open_stored(sha256))  # type: ignore[misc]
        for path, (sha256, size) in files.items()
    }


def open_version(listing: Listing, *, by: User, files: Files, notes: str = "") -> Version:
    """The listing's next version, `checking`, of which nothing but its files' names and digests is known.

    Raises `VersionExists` for the files of another version.
    """
    membership.require(by, listing.organisation, "publish")
    digest = digest_of(files)
    with transaction.atomic():
        Listing.objects.select_for_update().get(pk=listing.pk)
        if same := _same(listing, digest):
            raise VersionExists(listing=listing.path, number=same.number)
        quotas.admit(listing.organisation, "versions", by=by, count=listing.versions.count, what="versions")
        latest = listing.versions.aggregate(number=Max("number"))["number"] or 0
        return Version.objects.create(
            listing=listing, number=latest + 1, digest=digest, task=listing.task, architecture="", weight_bytes=0,
            memory_bytes=0, notes=notes, created_by=by, report={"findings": [], "facts": None},
        )  # fmt: skip


def _same(listing: Listing, digest: str) -> Version | None:
    return listing.versions.filter(digest=digest).exclude(state=Version.State.REFUSED).first()


def record_report(version_id: UUID, *, report: Report, files: Files) -> Version:
    """What was read in a version's files: it is `refused`, or tried next. Either way its `report` says why.

    Safe to repeat: only a version whose files are not yet read changes.
    """
    with transaction.atomic():
        version = (
            Version.objects.select_for_update().select_related("listing__organisation").get(pk=version_id)
        )
        if version.state != Version.State.CHECKING or version.examined_at is not None:
            return version
        Listing.objects.select_for_update().get(pk=version.listing_id)
        kept = {path: files[path] for path in report.kept}
        report = _refuse_twin(version, report, digest=digest_of(kept))
        _fill_in(version, report, kept)
        _fill_blanks(version.listing, report)
        if report.ok:
            examinations.move_on(version)
        else:
            examinations.end(version=version)
    return version


def _refuse_twin(version: Version, report: Report, *, digest: str) -> Report:
    """The same files as another version's, if those that are not kept are left out of both."""
    same = _same(version.listing, digest)
    if not report.ok or same is None or same.pk == version.pk:
        return report
    message = f"These very files are version {same.number} already."
    return replace(report, findings=(*report.findings, error("", "same-files", message)))


def _fill_in(version: Version, report: Report, kept: Files) -> None:
    facts = report.facts
    version.state = Version.State.CHECKING if report.ok else Version.State.REFUSED
    version.examined_at = clock.now()
    version.digest = digest_of(kept)
    version.report = report.to_json()
    version.evaluation, version.training = list(report.card.evaluation), dict(report.training)
    if facts:
        version.task, version.architecture = facts.task, facts.architecture
        version.context_length, version.parameter_count = facts.context_length, facts.parameter_count
        version.weight_bytes, version.memory_bytes = facts.weight_bytes, facts.memory_bytes
    version.save()
    VersionFile.objects.bulk_create(
        VersionFile(version=version, path=path, sha256=sha256, size=size)
        for path, (sha256, size) in kept.items()
    )


def digest_of(files: Files) -> str:
    """SHA-256 over the sorted paths and digests: the same files give the same digest, anywhere."""
    lines = (f"{sha256}  {path}\n" for path, (sha256, _) in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _fill_blanks(listing: Listing, report: Report) -> None:
    """Let the files' own card describe a listing that its provider has not described yet."""
    card = report.card
    told = {
        "card": card.body,
        "licence": card.licence,
        "languages": list(card.languages),
        "tags": list(card.tags),
    }
    news = {name: value for name, value in told.items() if value and not getattr(listing, name)}
    for name, value in news.items():
        setattr(listing, name, value)
    if news:
        rendered = cards.render_into(listing) if "card" in news else []
        listing.save(update_fields=[*news, *rendered])


def record_trial(
    version_id: UUID, *, ok: bool, findings: Iterable[Finding | Mapping[str, Any]] = ()
) -> Version:
    """What a worker saw when it loaded and ran the version: it becomes `ready` or `refused`.

    Safe to repeat: only a version that is still `checking` changes. The first ready version of a listing
    becomes its current one.
    """
    with transaction.atomic():
        version = Version.objects.select_for_update().select_related("listing").get(pk=version_id)
        if version.state != Version.State.CHECKING or version.examined_at is None:
            return version
        examinations.end(version=version)
        version.state = Version.State.READY if ok else Version.State.REFUSED
        seen = [asdict(found) if isinstance(found, Finding) else dict(found) for found in findings]
        version.report = {**version.report, "findings": [*version.report.get("findings", []), *seen]}
        version.save(update_fields=["state", "report"])
        if ok:
            Listing.objects.filter(pk=version.listing_id, current_version=None).update(
                current_version=version
            )
            figures.refresh(version.listing_id)
        epochs.bump("listing", version.listing_id)
    version.listing.refresh_from_db(fields=["current_version"])
    return version


def make_current(version: Version, *, by: User) -> None:
    """Let calls of `owner/slug` reach this version: a step forward, or a roll-back. Raises `VersionNotReady`."""
    listing = version.listing
    membership.require(by, listing.organisation, "publish")
    with transaction.atomic():
        locked = Version.objects.select_for_update().get(pk=version.pk)
        if locked.state != Version.State.READY:
            raise VersionNotReady(listing=listing.path, version=version.number)
        Listing.objects.filter(pk=listing.pk).update(current_version=version)
        figures.refresh(listing.pk)
        epochs.bump("listing", listing.pk)
    listing.current_version = version


def publish(listing: Listing, *, by: User) -> None:
    """Show it in the catalogue and let others subscribe; a withdrawn listing comes back.

    Raises `ListingTakenDown` for one that only operators bring back, and `NotPublishable`.
    """
    membership.require(by, listing.organisation, "publish")
    with _changing(listing, "published_at", "withdrawn_at", "withdrawn_by", "withdrawn_reason") as locked:
        if locked.taken_down_at is not None:
            entitlement.refuse_closed(locked)
        _refuse_incomplete(locked)
        locked.published_at = locked.published_at or clock.now()
        locked.withdrawn_at, locked.withdrawn_by, locked.withdrawn_reason = None, None, ""
    figures.refresh(listing.pk)


def _refuse_incomplete(listing: Listing) -> None:
    if listing.current_version_id is None:
        raise NotPublishable(
            listing=listing.path, reason="it has no version that is ready. Upload one first."
        )
    if not listing.plans.filter(archived_at=None).exists():
        raise NotPublishable(
            listing=listing.path, reason="it has no plan. Price it first; free is a price too."
        )


def withdraw(listing: Listing, *, by: User, reason: str) -> None:
    """Stop all calls and hide it; subscribers read the reason."""
    membership.require(by, listing.organisation, "publish")
    with _changing(listing, "withdrawn_at", "withdrawn_by", "withdrawn_reason") as locked:
        locked.withdrawn_at, locked.withdrawn_by, locked.withdrawn_reason = clock.now(), by, reason[:240]


def take_down(listing: Listing, *, by: User, reason: str) -> None:
    """Stop all calls and leave no more than the reason on its page: an operator's act, which only operators undo."""
    _require_operator(by)
    with _changing(listing, "taken_down_at", "taken_down_by", "taken_down_reason") as locked:
        locked.taken_down_at, locked.taken_down_by, locked.taken_down_reason = clock.now(), by, reason[:240]


def restore(listing: Listing, *, by: User) -> None:
    """Undo a takedown. What the provider has withdrawn or not yet published stays so."""
    _require_operator(by)
    with _changing(listing, "taken_down_at", "taken_down_by", "taken_down_reason") as locked:
        locked.taken_down_at, locked.taken_down_by, locked.taken_down_reason = None, None, ""


@contextmanager
def _changing(listing: Listing, *names: str) -> Iterator[Listing]:
    """The listing's row, locked, saved and copied to `listing` in the end, so that no change overtakes another."""
    with transaction.atomic():
        locked = (
            Listing.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=listing.pk)
        )
        yield locked
        locked.save(update_fields=list(names))
        epochs.bump("listing", listing.pk)
    for name in ("current_version_id", *names):
        setattr(listing, name, getattr(locked, name))


def _require_operator(by: User) -> None:
    if not by.is_staff or not by.has_perm("marketplace.change_listing"):
        raise NotAllowed(role="user", action="take listings down")
