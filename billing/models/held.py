"""Earnings that wait for an operator's look: of calls whose server reported more than passed through us bears out."""

from django.db import models
from django.db.models import F, Q

from billing.models.period import BillingPeriod
from marketplace.models import Listing
from portal.accounts.models import Organisation, User
from portal.kit import clock


class HeldEarning(models.Model):
    """Of one call, by the id of its event. The consumer owes its `charge`; the provider's share of it, `charge` less
    `commission`, is on the account of what is held until somebody decides. `report` is what the server said.
    """

    class State(models.TextChoices):
        HELD = "held", "Held"
        RELEASED = "released", "Released to the provider"
        REVERSED = "reversed", "Credited to the consumer"

    id = models.UUIDField(primary_key=True, editable=False)
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="held")
    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    provider = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    charge = models.BigIntegerField()
    commission = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    report = models.JSONField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.HELD)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(charge__gt=0, commission__gte=0, commission__lte=F("charge")),
                name="held_is_split",
            ),
            models.CheckConstraint(
                condition=Q(state="held", decided_at=None, decided_by=None)
                | ~Q(state="held") & Q(decided_at__isnull=False, decided_by__isnull=False),
                name="held_until_decided",
            ),
        ]
        indexes = [
            models.Index(fields=["provider", "state"], name="held_by_provider"),
            models.Index(fields=["period"], name="held_by_period"),
        ]

    def __str__(self) -> str:
        return f"{self.charge} of {self.listing_id}"

    @property
    def share(self) -> int:
        """What the provider gets if it is released."""
        return self.charge - self.commission
