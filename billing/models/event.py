"""The immutable fact: one row per admitted call, once it has ended."""

from uuid import UUID

from django.db import models

from billing import reasons
from billing.models.period import BillingPeriod
from billing.reasons import Reason
from marketplace.models import Listing, PlanVersion, Subscription, Version
from portal.accounts.models import ApiKey, Organisation
from portal.kit import ids


class Outcome(models.TextChoices):
    """How a call ended. A failed one costs nothing. What is reversed is no call: it takes back one that was charged,
    with negative units, because nobody can have received its end.
    """

    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REVERSED = "reversed"


class UsageEvent(models.Model):
    """A call, by the id that admission minted. The table is made in SQL: partitioned by day of that id, and
    append-only. Its references carry no database constraint: the facts outlive what they name.

    Meters hold what was counted. `rated` holds what was priced, `{meter: [position, units, charge]}`: the
    period's cumulative units before this call, its own units, and their charge in micro-minor units.
    `estimated` units were counted by us, as the provider's server did not report them. `reason` is a `Reason` of a
    call without a whole answer, where its finish reason does not say it; `why` reads both. `report` is what a
    provider's server said, where that needs a look (`inference.gateway.remote.counting.Counted` has its fields).
    """

    id = models.UUIDField(primary_key=True, editable=False)
    finished_at = models.DateTimeField()
    organisation = models.ForeignKey(Organisation, models.DO_NOTHING, db_constraint=False, related_name="+")
    provider = models.ForeignKey(Organisation, models.DO_NOTHING, db_constraint=False, related_name="+")
    subscription = models.ForeignKey(Subscription, models.DO_NOTHING, db_constraint=False, related_name="+")
    listing = models.ForeignKey(Listing, models.DO_NOTHING, db_constraint=False, related_name="+")
    version = models.ForeignKey(Version, models.DO_NOTHING, db_constraint=False, related_name="+")
    plan_version = models.ForeignKey(PlanVersion, models.DO_NOTHING, db_constraint=False, related_name="+")
    period = models.ForeignKey(BillingPeriod, models.DO_NOTHING, db_constraint=False, related_name="+")
    lease_id = models.UUIDField()
    api_key = models.ForeignKey(ApiKey, models.DO_NOTHING, db_constraint=False, related_name="+", null=True)
    endpoint = models.CharField(max_length=32)
    streamed = models.BooleanField()
    outcome = models.CharField(max_length=9, choices=Outcome.choices)
    requests = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    images = models.BigIntegerField()
    compute_ms = models.BigIntegerField()
    rated = models.JSONField()
    charge = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    ttft_ms = models.IntegerField(null=True)
    latency_ms = models.IntegerField(null=True)
    worker = models.CharField(max_length=80)
    finish_reason = models.CharField(max_length=32)
    demo = models.BooleanField()
    estimated = models.BooleanField(default=False)
    report = models.JSONField(null=True)
    reason = models.CharField(max_length=32, default="")

    class Meta:
        managed = False
        db_table = "usage_event"

    def __str__(self) -> str:
        return self.public_id

    @property
    def public_id(self) -> str:
        """`req_...`, as the caller saw it."""
        return ids.public("req", UUID(str(self.id)))

    @property
    def speed(self) -> float | None:
        """Output tokens a second after the first one; None where the answer came at once."""
        if (
            self.output_tokens < 2
            or not self.ttft_ms
            or not self.latency_ms
            or self.latency_ms - self.ttft_ms < 20
        ):
            return None
        return (self.output_tokens - 1) * 1000 / (self.latency_ms - self.ttft_ms)

    @property
    def why(self) -> Reason | None:
        """Why there was no whole answer; None where there was one."""
        return reasons.of(self.outcome, self.finish_reason, self.reason)
