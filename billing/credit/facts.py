"""What admission must know about a call, gathered from Postgres and cached by the caller."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from django.conf import settings

from billing.credit import budget_leases, leases
from billing.credit.budget_leases import Budget
from billing.errors import BudgetInOtherCurrency
from billing.models import BillingPeriod
from billing.rating import Price
from marketplace import own_use
from marketplace.models import PlanVersion, Subscription, Version
from portal.accounts.models import ApiKey, RateLimited
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


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one holder may do at a time and per minute; 0 is no limit."""

    holder: Literal["key", "subscription", "organisation", "own use"]
    holder_id: UUID
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """Facts of calls by one key to one version. `epochs` pairs a Redis key with the value read BEFORE these
    facts; `period_ends` in unix seconds. `key_id` is None for playground passes, which have no key's limits.
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
    rates: tuple[RateLimits, ...]
    budgets: tuple[Budget, ...]
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

    Raises `BudgetInOtherCurrency`, and `LeaseUnavailable` while Redis comes and goes.
    """
    at = at or clock.now()
    opened = leases.open_for(subscription, at)
    period = opened.period
    terms = period.plan_version
    key = ApiKey.objects.get(pk=key_id) if key_id else None
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
        rates=_rates(key, subscription, terms),
        budgets=_budgets(key, terms, at),
        epochs=epochs,
        demo=demo,
    )


def _rates(key: ApiKey | None, subscription: Subscription, terms: PlanVersion) -> tuple[RateLimits, ...]:
    found = [
        _own_use(subscription) if subscription.own_use else _limits("subscription", subscription.pk, terms),
        _limits("organisation", subscription.organisation_id, subscription.organisation),
    ]
    return (_limits("key", key.pk, key), *found) if key else tuple(found)


def _limits(
    holder: Literal["key", "subscription", "organisation"], holder_id: UUID, terms: PlanVersion | RateLimited
) -> RateLimits:
    rates = terms.requests_per_minute, terms.tokens_per_minute, terms.concurrent_requests
    return RateLimits(holder, holder_id, *rates)


def _own_use(subscription: Subscription) -> RateLimits:
    """Of all the listings of an organisation together."""
    return RateLimits(
        "own use", own_use.limits_holder(subscription.organisation_id), settings.OWN_USE_REQUESTS_PER_MINUTE, 0,
        settings.OWN_USE_CONCURRENT_REQUESTS,
    )  # fmt: skip


def _budgets(key: ApiKey | None, terms: PlanVersion, at: datetime) -> tuple[Budget, ...]:
    if key is None:
        return ()
    opened = budget_leases.open_for(key, at)
    if opened and key.budget_currency != terms.currency:
        raise BudgetInOtherCurrency(
            key=key.name, budget_currency=key.budget_currency, plan_currency=terms.currency
        )
    return opened


def components(period: BillingPeriod) -> tuple[Component, ...]:
    """The period's priced and limited meters, in the order of their names."""
    return tuple(
        Component(row.meter, row.included, row.amount, row.per)
        for row in period.plan_version.components.order_by("meter")
    )
