"""The limits of a period: how far each may go, how far it has gone, and in which slices."""

from django.db.models import Sum

from billing.models import BillingPeriod, LeaseGrant
from marketplace.models import PriceComponent, Subscription

_SLICES = 16


def allowed(period: BillingPeriod) -> dict[str, int]:
    """How far each limit of the period may ever be used up, forfeits taken off."""
    cap = Subscription.objects.values_list("spend_cap", flat=True).get(pk=period.subscription_id)
    limits = {LeaseGrant.CHARGE: cap}
    stops = PriceComponent.objects.filter(plan_version_id=period.plan_version_id, amount=None)
    limits.update(stops.values_list("meter", "included"))
    lost = LeaseGrant.objects.filter(lease__period=period, forfeited__gt=0).values_list("limit")
    for limit, forfeited in lost.annotate(Sum("forfeited")):
        limits[limit] = max(0, limits[limit] - forfeited)
    return limits


def used(period: BillingPeriod) -> dict[str, int]:
    """What Postgres has recorded: cumulative units per priced meter, and the charge."""
    return {**dict(period.lines.values_list("meter", "units")), LeaseGrant.CHARGE: period.gross}


def slice_after(allowed: int, *, after: int) -> int:
    """How far a new grant may reach after what is used or granted already."""
    return after + max(0, allowed - after) // _SLICES
