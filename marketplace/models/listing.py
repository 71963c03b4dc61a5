"""A product page in the catalogue."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from marketplace.models.version import Task, Version
from portal.accounts.models import Organisation, User
from portal.kit import clock, ids


class Listing(models.Model):
    """`owner/slug`. Draft until published; a withdrawal is dated, and undone by publishing again."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="listings")
    slug = models.SlugField(max_length=64)
    name = models.CharField(max_length=120)
    summary = models.CharField(max_length=240, blank=True)
    card = models.TextField("model card (Markdown)", blank=True)
    # Made of the card by the renderer of that number; see `marketplace.cards`.
    card_html = models.TextField(blank=True, default="", db_default="", editable=False)
    card_renderer = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False, db_index=True)
    task = models.CharField(max_length=32, choices=Task.choices)
    licence = models.CharField(max_length=64, blank=True)
    languages = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    playground_without_sign_in = models.BooleanField(default=False)
    current_version = models.ForeignKey(
        Version, on_delete=models.PROTECT, null=True, blank=True, related_name="+",
        help_text="The version that calls of owner/slug reach.",
    )  # fmt: skip
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    published_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    withdrawn_reason = models.CharField(max_length=240, blank=True)
    # Whether a search for common words looks here first; see `marketplace.prominence`.
    prominent = models.BooleanField(default=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "slug"], name="listing_slug_once"),
            models.CheckConstraint(
                condition=Q(published_at=None) | Q(current_version__isnull=False),
                name="published_listing_has_a_version",
            ),
        ]

    def __str__(self) -> str:
        return self.path

    @property
    def path(self) -> str:
        """`owner/slug`, the name in API calls."""
        return f"{self.organisation.slug}/{self.slug}"

    @property
    def is_live(self) -> bool:
        return self.published_at is not None and self.withdrawn_at is None
