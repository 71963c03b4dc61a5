"""An organisation on a plan version."""

from django.db import models
from django.db.models import Q

from marketplace.models.plan import PlanVersion
from portal.accounts.models import Organisation, User
from portal.kit import clock, ids


class Subscription(models.Model):
    """Runs from `started_at` until `ended_at`. Billing periods are months from `started_at`, half-open. `own_use` is that
    of the listing's own organisation (`marketplace.own_use`): nobody bought it, and no list of subscriptions has it.
    """

    id = models.UUIDField(primary_key=True, default=ids.uuid7, editable=False)
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="subscriptions")
    listing = models.ForeignKey("marketplace.Listing", on_delete=models.PROTECT, related_name="subscriptions")
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="subscriptions")
    spend_cap = models.BigIntegerField(
        help_text="Usage charges per period, in micro-minor units, never exceeded."
    )
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField(default=clock.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    own_use = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "listing"],
                condition=Q(ended_at=None, own_use=False),
                name="one_live_subscription",
            ),
            models.UniqueConstraint(fields=["listing"], condition=Q(own_use=True), name="one_own_use"),
            models.CheckConstraint(condition=Q(spend_cap__gte=0), name="spend_cap_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.organisation} on {self.plan_version}"
