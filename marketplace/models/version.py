"""An immutable release of a listing: files addressed by their digests, or a provider's own server; checked facts."""

from django.db import models

from portal.accounts.models import User
from portal.kit import clock, ids


class Task(models.TextChoices):
    """What a version does, by the field's usual names."""

    TEXT_GENERATION = "text-generation", "Text generation"
    FEATURE_EXTRACTION = "feature-extraction", "Embeddings"
    TEXT_CLASSIFICATION = "text-classification", "Text classification"
    IMAGE_CLASSIFICATION = "image-classification", "Image classification"


class Version(models.Model):
    """`checking` while a worker tries it, then `ready` or `refused`. Only a ready one can be current."""

    class State(models.TextChoices):
        CHECKING = "checking"
        READY = "ready"
        REFUSED = "refused"

    class Kind(models.TextChoices):
        """Weights run on our workers; a remote version is the provider's own server."""

        WEIGHTS = "weights"
        REMOTE = "remote"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    listing = models.ForeignKey("marketplace.Listing", on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(help_text="1, 2, 3, ... within the listing.")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.WEIGHTS)
    digest = models.CharField(
        max_length=64,
        help_text="SHA-256 over the sorted paths and digests of the files, or a keyed one over the endpoint.",
    )
    task = models.CharField(max_length=32, choices=Task.choices)
    architecture = models.CharField(max_length=64)
    context_length = models.PositiveIntegerField(default=0, help_text="Tokens; 0 where the task has none.")
    parameter_count = models.BigIntegerField(default=0)
    weight_bytes = models.BigIntegerField()
    memory_bytes = models.BigIntegerField(help_text="What a replica needs on its device, caches included.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.CHECKING)
    report = models.JSONField(default=dict, help_text="What validation and the trial run found.")
    evaluation = models.JSONField(default=list, help_text="Measured results from the card's model-index.")
    training = models.JSONField(
        default=dict, help_text="Loss curve and settings, where the provider gave them."
    )
    notes = models.TextField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    examined_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When its files were read; from then on its facts are final.",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["listing", "number"], name="version_number_once"),
            # Refused files may be tried again: the rules, not the files, may have been at fault.
            models.UniqueConstraint(
                fields=["listing", "digest"], condition=~models.Q(state="refused"), name="version_digest_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.listing_id} v{self.number}"

    @property
    def is_remote(self) -> bool:
        return self.kind == self.Kind.REMOTE


class VersionFile(models.Model):
    """One file of a version. `sha256` addresses its bytes in the weights storage."""

    id = models.BigAutoField(primary_key=True)
    version = models.ForeignKey(Version, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "path"], name="version_path_once")]

    def __str__(self) -> str:
        return self.path
