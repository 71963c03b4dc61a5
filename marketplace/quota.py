"""How many bytes a version may have, and how many an organisation may keep here."""

from django.conf import settings
from django.db.models import Sum

from marketplace.errors import QuotaExceeded, UploadRefused
from marketplace.models import Upload, UploadFile, VersionFile
from portal.accounts.models import Organisation
from portal.kit import clock


def require_room(organisation: Organisation, *, size: int) -> None:
    """Raises `UploadRefused` if `size` bytes are more than a version may have, and `QuotaExceeded` if the
    organisation may not keep so many more.
    """
    if size > settings.UPLOAD_LIMIT_BYTES:
        reason = f"{size} bytes are more than the {settings.UPLOAD_LIMIT_BYTES} that a version may have."
        raise UploadRefused(reason=reason, findings=[])
    kept, limit = kept_bytes(organisation), settings.ORGANISATION_QUOTA_BYTES
    if kept + size > limit:
        raise QuotaExceeded(organisation=organisation.name, kept=kept, size=size, limit=limit)


def kept_bytes(organisation: Organisation) -> int:
    """Bytes of its versions, equal files counted once, and all that its uploads in progress declare."""
    contents = VersionFile.objects.filter(version__listing__organisation=organisation)
    stored = sum(size for _, size in contents.values_list("sha256", "size").distinct())
    live = Upload.objects.filter(listing__organisation=organisation, version=None, expires_at__gt=clock.now())
    declared = UploadFile.objects.filter(upload__in=live).aggregate(total=Sum("size"))["total"]
    return stored + (declared or 0)
