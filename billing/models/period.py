"""A billing period of a subscription, on the plan version with which it began."""

from django.db import models
from django.db.models import F, Q

from marketplace.models import PlanVersion, Subscription
from portal.kit import clock, ids


class BillingPeriod(models.Model):
    """Half-open [starts, ends). `gross` and `commission` accumulate with the usage, in micro-minor units.

    The commission rate is pinned here, so that changing the setting never changes what was earned.
    """

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="+")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    starts = models.DateTimeField()
    ends = models.DateTimeField()
    commission_basis_points = models.PositiveSmallIntegerField()
    gross = models.BigIntegerField(default=0)
    commission = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "starts"], name="period_starts_once"),
            models.UniqueConstraint(fields=["subscription", "ends"], name="period_ends_once"),
            models.CheckConstraint(condition=Q(ends__gt=F("starts")), name="period_has_a_length"),
            models.CheckConstraint(
                condition=Q(commission__gte=0, commission__lte=F("gross")),
                name="period_commission_within_gross",
            ),
            models.CheckConstraint(
                condition=Q(commission_basis_points__lte=10_000), name="period_commission_is_a_share"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} from {self.starts:%Y-%m-%d}"
