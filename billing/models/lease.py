"""What Postgres has granted to Redis."""

from django.db import models
from django.db.models import F, Q

from billing.models.period import BillingPeriod
from portal.kit import clock, ids


class Lease(models.Model):
    """The right of one run of Redis to admit calls of a period. Closed when that run or its data are gone."""

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="leases")
    run = models.CharField(max_length=40, help_text="Redis' run id.")
    opened_at = models.DateTimeField(default=clock.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["period"], condition=Q(closed_at=None), name="one_open_lease")
        ]

    def __str__(self) -> str:
        return f"lease of {self.period_id}"


class LeaseGrant(models.Model):
    """How far one limit of a lease may be used up, counted from the period's start.

    `limit` is a meter with a hard stop, in units, or "charge", in micro-minor units. `forfeited` is what a
    lost lease had been granted and never accounted for: nobody pays for it and nobody can spend it.
    """

    CHARGE = "charge"

    id = models.BigAutoField(primary_key=True)
    lease = models.ForeignKey(Lease, on_delete=models.CASCADE, related_name="grants")
    limit = models.CharField(max_length=16)
    granted = models.BigIntegerField()
    forfeited = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lease", "limit"], name="lease_grants_each_limit_once"),
            models.CheckConstraint(
                condition=Q(granted__gte=0, forfeited__gte=0, forfeited__lte=F("granted")), name="grant_sane"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.granted} of {self.limit}"
