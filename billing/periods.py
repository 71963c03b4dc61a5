"""Billing periods: months since a subscription began, made when first needed."""

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from billing.errors import NoPeriod
from billing.models import BillingPeriod
from marketplace.models import Subscription
from portal.accounts.models import Organisation
from portal.kit import clock


def current(subscription: Subscription, at: datetime) -> BillingPeriod:
    """The period that holds `at`, made if it is the first time. Raises `NoPeriod` before the start."""
    return find(subscription, at) or _make(subscription, at)


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


def _make(subscription: Subscription, at: datetime) -> BillingPeriod:
    starts, ends = bounds(subscription, at)
    with transaction.atomic():
        # Two callers that both find none meet at this lock; the second finds the first one's.
        live = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
        period, _ = BillingPeriod.objects.get_or_create(
            subscription=live,
            starts=starts,
            defaults={
                "ends": ends,
                "plan_version_id": live.plan_version_id,
                "commission_basis_points": settings.COMMISSION_BASIS_POINTS,
            },
        )
    return period
