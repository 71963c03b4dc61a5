"""How many bytes a version may have, and how many an organisation, a user and all may keep here."""

import os
from pathlib import Path

from django.conf import settings
from django.db.models import Q, QuerySet, Sum

from marketplace.errors import DiskFull, QuotaExceeded, UploadRefused
from marketplace.models import Upload, UploadFile, VersionFile
from marketplace.weights.storage import weights_storage
from portal.accounts import quotas, suspension
from portal.accounts.models import Membership, Organisation, OrganisationQuota, Role, User
from portal.kit import clock, private
from portal.kit.figures import size_text


def admit_upload(organisation: Organisation, *, by: User) -> None:
    """Let one more upload begin, inside its transaction. Raises `QuotaReached`."""
    live = Upload.objects.filter(listing__organisation=organisation, version=None, expires_at__gt=clock.now())
    quotas.admit(organisation, "uploads", by=by, count=live.count, what="unfinished uploads")


def require_room(organisation: Organisation, *, size: int) -> None:
    """Raises `UploadRefused` if `size` bytes are more than a version may have, `QuotaExceeded` if the organisation,
    an owner of it over all their organisations, or all together may not keep so many more, and `DiskFull`.
    """
    if size > settings.UPLOAD_LIMIT_BYTES:
        most = size_text(settings.UPLOAD_LIMIT_BYTES)
        reason = f"These files are {size_text(size)}, and a version may have {most} at most."
        raise UploadRefused(reason=reason, findings=[])
    limit = quotas.bytes_limit_of(organisation)
    _refuse_over(organisation.name, kept_bytes(organisation), size=size, limit=limit)
    if not OrganisationQuota.objects.filter(organisation=organisation, stored_bytes__isnull=False).exists():
        for owner in organisation.memberships.filter(role=Role.OWNER).select_related("user"):
            _refuse_over(
                owner.user.email, _owned_bytes(owner.user), size=size, limit=settings.USER_QUOTA_BYTES
            )
    if settings.SITE_QUOTA_BYTES:
        _refuse_over(
            "Mercato", _bytes_of(Organisation.objects.all()), size=size, limit=settings.SITE_QUOTA_BYTES
        )
    require_disk(size=size + _awaited_bytes())


def require_disk(*, size: int) -> None:
    """Raises `DiskFull` unless so many bytes leave free what must stay free of the disk with the weights."""
    place = getattr(weights_storage(), "location", None)
    if place is None:
        # Somewhere else than on a disk of ours.
        return
    private.make_folder(Path(place))
    found = os.statvfs(place)
    if size > found.f_bavail * found.f_frsize - settings.FREE_DISK_BYTES:
        raise DiskFull(size=size, contact=suspension.contact())


def kept_bytes(organisation: Organisation) -> int:
    """Bytes of its versions, equal files counted once, and all that its uploads in progress declare."""
    return _bytes_of(Organisation.objects.filter(pk=organisation.pk))


def _owned_bytes(user: User) -> int:
    """Of those of the user's organisations that have no quota of their own."""
    owned = Membership.objects.filter(user=user, role=Role.OWNER).values("organisation_id")
    shared = Organisation.objects.filter(pk__in=owned)
    return _bytes_of(shared.exclude(quota__stored_bytes__isnull=False))


def _bytes_of(organisations: QuerySet[Organisation]) -> int:
    """Equal files of different organisations count for each."""
    contents = VersionFile.objects.filter(version__listing__organisation__in=organisations)
    facts = ("version__listing__organisation", "sha256", "size")
    stored: int = sum(size for _, _, size in contents.values_list(*facts).distinct())
    live = Upload.objects.in_progress().filter(
        Q(expires_at__gt=clock.now()) | Q(version__isnull=False), listing__organisation__in=organisations
    )
    declared = UploadFile.objects.filter(upload__in=live).aggregate(total=Sum("size"))["total"]
    return stored + int(declared or 0)


def _awaited_bytes() -> int:
    """What uploads in progress have declared and not sent yet: it will come."""
    live = UploadFile.objects.filter(upload__version=None, upload__expires_at__gt=clock.now(), stored=False)
    sums = live.aggregate(size=Sum("size"), received=Sum("received"))
    return int(sums["size"] or 0) - int(sums["received"] or 0)


def _refuse_over(name: str, kept: int, *, size: int, limit: int) -> None:
    if limit and kept + size > limit:
        raise QuotaExceeded(organisation=name, kept=kept, size=size, limit=limit)
