"""An upload in progress: files arrive in chunks, in any order of files, and can resume."""

from django.db import models
from django.db.models import Q

from portal.accounts.models import User
from portal.kit import clock, ids


class UploadQuerySet(models.QuerySet["Upload"]):
    """Uploads by where they stand."""

    def in_progress(self) -> "UploadQuerySet":
        """Those whose files no version names yet: not completed, or completed and not yet read."""
        unread = Q(version__state="checking", version__examined_at=None)
        return self.filter(Q(version=None) | unread)


class Upload(models.Model):
    """Declared files for one new version. Expires; `version` is set once it has been completed."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    listing = models.ForeignKey("marketplace.Listing", on_delete=models.CASCADE, related_name="uploads")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField()
    notes = models.TextField(blank=True)
    version = models.ForeignKey(
        "marketplace.Version", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    objects = UploadQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.id)


class UploadFile(models.Model):
    """One declared file: `received` bytes of `size` have arrived; `stored` says that its digest matched."""

    id = models.BigAutoField(primary_key=True)
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=255)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    received = models.BigIntegerField(default=0)
    stored = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upload", "path"], name="upload_path_once"),
            models.CheckConstraint(
                condition=models.Q(received__lte=models.F("size")), name="upload_within_size"
            ),
        ]

    def __str__(self) -> str:
        return self.path
