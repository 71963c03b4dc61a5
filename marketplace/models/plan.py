"""Priced offers. A published plan version never changes; editing makes the next one."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from portal.kit import clock, ids


class Meter(models.TextChoices):
    """What can be counted and priced."""

    REQUESTS = "requests", "Requests"
    INPUT_TOKENS = "input_tokens", "Input tokens"
    OUTPUT_TOKENS = "output_tokens", "Output tokens"
    CACHED_TOKENS = "cached_tokens", "Cached input tokens"
    IMAGES = "images", "Images"
    COMPUTE_MS = "compute_ms", "Compute milliseconds"


class Plan(models.Model):
    """An offer of a listing under one name through all its versions."""

    class Kind(models.TextChoices):
        FREE = "free"
        PAID = "paid"
        MIXED = "mixed"

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    listing = models.ForeignKey("marketplace.Listing", on_delete=models.PROTECT, related_name="plans")
    slug = models.SlugField(max_length=40)
    name = models.CharField(max_length=60)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True)
    # Of `marketplace.own_use`: no offer, and on no list of them.
    own_use = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["listing", "slug"], name="plan_slug_once")]

    def __str__(self) -> str:
        return self.name


class PlanVersion(models.Model):
    """Prices and limits as published. Amounts are micro-minor units; 0 limits mean none."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default=settings.CURRENCY)
    monthly_fee = models.BigIntegerField(default=0)
    spend_cap = models.BigIntegerField(
        default=0,
        help_text="Usage charges per period that a new subscription allows, unless it chooses less or more.",
    )
    requests_per_minute = models.PositiveIntegerField(default=0)
    tokens_per_minute = models.PositiveIntegerField(default=0)
    concurrent_requests = models.PositiveIntegerField(default=0)
    published_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan", "number"], name="plan_version_number_once"),
            models.CheckConstraint(
                condition=Q(monthly_fee__gte=0, spend_cap__gte=0), name="plan_money_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan} v{self.number}"


class PriceComponent(models.Model):
    """A price of one meter: the first `included` units of a period cost nothing, the rest `amount` per `per`
    units. No amount means that calls stop when the included units are used up. A meter without a
    component is counted and free.
    """

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="components")
    meter = models.CharField(max_length=16, choices=Meter.choices)
    included = models.BigIntegerField(default=0)
    amount = models.BigIntegerField(null=True, blank=True)
    per = models.BigIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan_version", "meter"], name="component_meter_once"),
            models.CheckConstraint(
                condition=Q(included__gte=0, per__gt=0) & (Q(amount=None) | Q(amount__gte=0)),
                name="component_sane",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.meter} of {self.plan_version}"
