"""A product page in the catalogue."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from marketplace.models.version import Task, Version
from portal.accounts.models import Organisation, User
from portal.kit import clock, ids, slugs


class Listing(models.Model):
    """`owner/slug`. Draft until published; a withdrawal is dated, and undone by publishing again. What the operator
    has taken down is theirs alone to bring back.
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        LIVE = "live"
        WITHDRAWN = "withdrawn"
        TAKEN_DOWN = "taken_down"
        SUSPENDED = "suspended"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="listings")
    slug = models.SlugField(max_length=64)
    # As an organisation's.
    skeleton = models.CharField(max_length=64, null=True, editable=False)  # noqa: DJ001
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
    taken_down_at = models.DateTimeField(null=True, blank=True)
    taken_down_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    taken_down_reason = models.CharField(max_length=240, blank=True, default="", db_default="")
    # Whether a search for common words looks here first; see `marketplace.prominence`.
    prominent = models.BooleanField(default=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "slug"], name="listing_slug_once"),
            models.UniqueConstraint(fields=["organisation", "skeleton"], name="listing_skeleton_once"),
            models.CheckConstraint(
                condition=Q(published_at=None) | Q(current_version__isnull=False),
                name="published_listing_has_a_version",
            ),
        ]

    def __str__(self) -> str:
        return self.path

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.skeleton = slugs.skeleton(self.slug)
        super().save(*args, **kwargs)

    @property
    def path(self) -> str:
        """`owner/slug`, the name in API calls."""
        return f"{self.organisation.slug}/{self.slug}"

    @property
    def state(self) -> str:
        """What holds first: an operator's takedown, the suspension of its organisation, the provider's own withdrawal."""
        if self.taken_down_at is not None:
            return self.State.TAKEN_DOWN.value
        if self.organisation.suspended_at is not None:
            return self.State.SUSPENDED.value
        if self.withdrawn_at is not None:
            return self.State.WITHDRAWN.value
        return (self.State.DRAFT if self.published_at is None else self.State.LIVE).value

    @property
    def is_live(self) -> bool:
        return self.state == self.State.LIVE

    @property
    def is_closed(self) -> bool:
        """Whether it was there to call and is no more."""
        return self.state in (self.State.WITHDRAWN, self.State.TAKEN_DOWN, self.State.SUSPENDED)

    @property
    def is_public(self) -> bool:
        """Whether it has a page for everybody, be it one that says why there is nothing to call."""
        return self.published_at is not None and self.withdrawn_at is None
