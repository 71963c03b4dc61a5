"""Billing periods: months since a subscription began, opened when first needed. Opening charges the flat fee."""

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from billing import ledger, rating
from billing.errors import NoPeriod
from billing.models import BillingPeriod, LedgerAccount
from marketplace.models import Subscription
from portal.accounts.models import Organisation
from portal.kit import clock

# The ledger's kind of the posting of a period's flat fee.
FEE = "fee"


def current(subscription: Subscription, at: datetime) -> BillingPeriod:
    """The period that holds `at`, opened if it is the first time. Raises `NoPeriod` before the start."""
    return find(subscription, at) or _open(subscription, at)


def find(subscription: Subscription, at: datetime) -> BillingPeriod | None:
    """The period that holds `at`, if anything has needed it yet."""
    return (
        BillingPeriod.objects.select_related("plan_version")
        .filter(subscription=subscription, starts__lte=at, ends__gt=at)
        .first()
    )


def running(organisation: Organisation, at: datetime) -> dict[UUID, BillingPeriod]:
    """The organisation's periods that hold `at`, by subscription, with their terms and rated lines loaded."""
    found = BillingPeriod.objects.filter(subscription__organisation=organisation, starts__lte=at, ends__gt=at)
    found = found.select_related("plan_version__plan").prefetch_related("lines", "plan_version__components")
    return {period.subscription_id: period for period in found}


def bounds(subscription: Subscription, at: datetime) -> tuple[datetime, datetime]:
    """The month [start, end) since the subscription's start that holds `at`. Raises `NoPeriod`."""
    if at < subscription.started_at:
        raise NoPeriod(subscription=str(subscription.pk), at=at.isoformat())
    return clock.period_around(subscription.started_at, at)


def _open(subscription: Subscription, at: datetime) -> BillingPeriod:
    starts, ends = bounds(subscription, at)
    with transaction.atomic():
        # Two callers that both find none meet at this lock; the second finds the first one's.
        live = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
        period, is_new = BillingPeriod.objects.get_or_create(
            subscription=live,
            starts=starts,
            defaults={
                "ends": ends,
                "plan_version_id": live.plan_version_id,
                "commission_basis_points": settings.COMMISSION_BASIS_POINTS,
            },
        )
        if is_new and period.plan_version.monthly_fee:
            ledger.post_new([_fee(period)])
    return period


def _fee(period: BillingPeriod) -> ledger.Posting:
    """The flat fee of the whole period: owed from its opening on, whatever is used."""
    terms, subscription = period.plan_version, period.subscription
    fee = terms.monthly_fee
    commission = rating.share(fee, basis_points=period.commission_basis_points)
    kinds = LedgerAccount.Kind
    return ledger.Posting(
        key=f"fee:{period.pk.hex}",
        kind=FEE,
        period_id=period.pk,
        currency=terms.currency,
        amounts={
            (kinds.RECEIVABLE, subscription.organisation_id): fee,
            (kinds.PAYABLE, subscription.listing.organisation_id): commission - fee,
            (kinds.COMMISSION, None): -commission,
        },
    )
