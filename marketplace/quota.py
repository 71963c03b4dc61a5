"""How many bytes of weights an organisation may keep here."""

from django.conf import settings
from django.db.models import Sum

from marketplace.errors import QuotaExceeded
from marketplace.models import Upload, UploadFile, VersionFile
from portal.accounts.models import Organisation
from portal.kit import clock


def require_room(organisation: Organisation, *, size: int) -> None:
    """Raises `QuotaExceeded` if `size` more bytes would be more than the organisation may keep."""
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
