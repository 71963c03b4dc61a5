"""Sums of usage events: per hour and day for pages, per period and meter for invoices."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from billing.models.period import BillingPeriod
from marketplace.models import Listing, Meter, Subscription, Version
from portal.accounts.models import ApiKey, Organisation


class Sums(models.Model):
    """What one key's calls to one version came to. `shard` keeps parallel meters off each other's rows.

    `requests` counts answered calls, `failed` the others; the meters and money sum the answered ones.
    """

    id = models.BigAutoField(primary_key=True)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="+")
    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, related_name="+")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="+")
    shard = models.SmallIntegerField()
    requests = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    images = models.BigIntegerField(default=0)
    compute_ms = models.BigIntegerField(default=0)
    charge = models.BigIntegerField(default=0)
    commission = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class UsageRollup(Sums):
    """One hour."""

    hour = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "hour", "subscription", "listing", "version", "api_key", "shard"],
                name="rollup_once",
                nulls_distinct=False,
            )
        ]
        indexes = [
            models.Index(fields=["listing", "hour"], name="rollup_by_listing"),
            # Rows come in the order of their hours, so that "everyone's last hours" needs no more than this.
            BrinIndex(fields=["hour"], name="rollup_by_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.listing_id} at {self.hour:%Y-%m-%d %H}h"


class DailyUsage(Sums):
    """One day in UTC, from its midnight `day` on: what pages of many days read. The sum of its hours. `sample` of the
    answered calls are the demo world's history, which nothing counts that is called measured.
    """

    day = models.DateTimeField()
    sample = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "day", "subscription", "listing", "version", "api_key", "shard"],
                name="daily_usage_once",
                nulls_distinct=False,
            )
        ]
        indexes = [models.Index(fields=["listing", "day"], name="daily_usage_by_listing")]

    def __str__(self) -> str:
        return f"{self.listing_id} on {self.day:%Y-%m-%d}"


class EarnedDay(models.Model):
    """What a listing's calls came to on one day in UTC, whoever made them: what pages of earnings read."""

    id = models.BigAutoField(primary_key=True)
    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, related_name="+")
    day = models.DateTimeField()
    currency = models.CharField(max_length=3)
    shard = models.SmallIntegerField(default=0)
    requests = models.BigIntegerField(default=0)
    charge = models.BigIntegerField(default=0)
    commission = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["listing", "day", "currency", "shard"], name="earned_day_once")
        ]

    def __str__(self) -> str:
        return f"{self.charge} on {self.day:%Y-%m-%d}"


class RatedLine(models.Model):
    """A period's cumulative units of one priced meter and what they cost. Invoices read it; no one claims events."""

    id = models.BigAutoField(primary_key=True)
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="lines")
    meter = models.CharField(max_length=16, choices=Meter.choices)
    units = models.BigIntegerField(default=0)
    charge = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["period", "meter"], name="rated_line_once"),
        ]

    def __str__(self) -> str:
        return f"{self.units} {self.meter}"
