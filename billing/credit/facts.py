"""What admission must know about a call, gathered from Postgres and cached by the caller."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billing.credit import leases
from billing.models import BillingPeriod
from billing.rating import Price
from marketplace.models import Subscription, Version
from portal.kit import clock


@dataclass(frozen=True, slots=True)
class Component:
    """A priced or limited meter, as `billing.rating.Price` says."""

    meter: str
    included: int
    amount: int | None
    per: int

    @property
    def price(self) -> Price:
        return Price(self.included, self.amount, self.per)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """Facts of calls by one key to one version. `epochs` pairs a Redis key with the value read BEFORE these
    facts; limits of 0 are none; `period_ends` in unix seconds. `key_id` is None for playground passes.
    """

    key_id: UUID | None
    organisation_id: UUID
    subscription_id: UUID
    listing_id: UUID
    version_id: UUID
    provider_id: UUID
    plan_version_id: UUID
    period_id: UUID
    period_ends: float
    lease_id: UUID
    currency: str
    components: tuple[Component, ...]
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_requests: int
    epochs: tuple[tuple[str, int], ...]
    demo: bool = False


def load(
    subscription: Subscription,
    version: Version,
    *,
    key_id: UUID | None,
    epochs: tuple[tuple[str, int], ...],
    at: datetime | None = None,
    demo: bool = False,
) -> CallFacts:
    """The facts of calls under a subscription, with a lease open for them. Blocks on Postgres and Redis.

    Raises `LeaseUnavailable` while Redis comes and goes.
    """
    opened = leases.open_for(subscription, at or clock.now())
    period = opened.period
    terms = period.plan_version
    return CallFacts(
        key_id=key_id,
        organisation_id=subscription.organisation_id,
        subscription_id=subscription.pk,
        listing_id=subscription.listing_id,
        version_id=version.pk,
        provider_id=subscription.listing.organisation_id,
        plan_version_id=terms.pk,
        period_id=period.pk,
        period_ends=period.ends.timestamp(),
        lease_id=opened.lease_id,
        currency=terms.currency,
        components=components(period),
        requests_per_minute=terms.requests_per_minute,
        tokens_per_minute=terms.tokens_per_minute,
        concurrent_requests=terms.concurrent_requests,
        epochs=epochs,
        demo=demo,
    )


def components(period: BillingPeriod) -> tuple[Component, ...]:
    """The period's priced and limited meters, in the order of their names."""
    return tuple(
        Component(row.meter, row.included, row.amount, row.per)
        for row in period.plan_version.components.order_by("meter")
    )
