"""Subscriptions: taking a plan, changing it, ending it."""

from django.conf import settings
from django.db import IntegrityError, transaction

from marketplace import entitlement, own_use
from marketplace.errors import (
    AlreadySubscribed,
    PlanArchived,
    PlanInvalid,
    SubscriptionEnded,
)
from marketplace.models import Listing, Plan, PlanVersion, Subscription
from marketplace.pricing import MOST, latest_version
from portal.accounts import membership, quotas
from portal.accounts.models import Organisation, User
from portal.kit import clock, epochs
from portal.kit.errors import NotFound
from portal.kit.figures import exact_text
from portal.kit.money import Money

VISITORS_SLUG = "visitors"


def subscribe(
    organisation: Organisation, plan: Plan, *, by: User, spend_cap: int | None = None
) -> Subscription:
    """Take the plan's latest version. `spend_cap` limits usage charges per period, in micro-minor units.

    A subscription on that version that ended in the running billing month is resumed, with its usage.
    A provider may subscribe to its own listing before it is published. Raises `AlreadySubscribed`,
    `PlanArchived`, `NotFound`, or what `entitlement.refuse_closed` does.
    """
    membership.require(by, organisation, "buy")
    _refuse_closed(plan, buyer=organisation)
    return _start(organisation, plan, by=by, spend_cap=spend_cap)


def change_plan(
    subscription: Subscription, plan: Plan, *, by: User, spend_cap: int | None = None
) -> Subscription:
    """End the subscription and begin one on another plan of the same listing, at the same instant.

    A spend cap of the buyer's own choice stays: no plan raises it.
    """
    membership.require(by, subscription.organisation, "buy")
    if plan.listing_id != subscription.listing_id:
        raise PlanInvalid(reason="The plan belongs to another listing.", param="plan")
    _refuse_closed(plan, buyer=subscription.organisation)
    if spend_cap is None and subscription.spend_cap != subscription.plan_version.spend_cap:
        spend_cap = subscription.spend_cap
    with transaction.atomic():
        _end(subscription, by=by)
        return _start(subscription.organisation, plan, by=by, spend_cap=spend_cap)


def cancel(subscription: Subscription, *, by: User) -> None:
    """End it now: the next call is refused. Raises `SubscriptionEnded` if it has ended already."""
    membership.require(by, subscription.organisation, "buy")
    _end(subscription, by=by)


def set_spend_cap(subscription: Subscription, *, by: User, spend_cap: int) -> None:
    """Limit what usage may cost in a period, in micro-minor units. Raises `PlanInvalid`, `SubscriptionEnded`."""
    membership.require(by, subscription.organisation, "buy")
    _check_cap(spend_cap)
    live = Subscription.objects.filter(pk=subscription.pk, ended_at=None)
    with transaction.atomic():
        if not live.update(spend_cap=spend_cap):
            raise SubscriptionEnded
        epochs.bump("subscription", subscription.pk)
    subscription.refresh_from_db(fields=["spend_cap"])


def admit_visitors(listing: Listing, *, by: User) -> None:
    """Let anonymous visitors try the listing on its free plan. Raises `PlanInvalid` if it has none."""
    membership.require(by, listing.organisation, "publish")
    plan = listing.plans.filter(kind=Plan.Kind.FREE, archived_at=None).order_by("created_at").first()
    if plan is None:
        raise PlanInvalid(reason="Visitors try a model on its free plan. Make one first.")
    visitors = Organisation.objects.get(slug=VISITORS_SLUG)
    with transaction.atomic():
        if not Subscription.objects.filter(organisation=visitors, listing=listing, ended_at=None).exists():
            _start(visitors, plan, by=by, spend_cap=0)
        Listing.objects.filter(pk=listing.pk).update(playground_without_sign_in=True)
        epochs.bump("listing", listing.pk)
    listing.playground_without_sign_in = True


def dismiss_visitors(listing: Listing, *, by: User) -> None:
    """Undo `admit_visitors`."""
    membership.require(by, listing.organisation, "publish")
    with transaction.atomic():
        live = Subscription.objects.filter(organisation__slug=VISITORS_SLUG, listing=listing, ended_at=None)
        for subscription in live:
            _end(subscription, by=by)
        Listing.objects.filter(pk=listing.pk).update(playground_without_sign_in=False)
        epochs.bump("listing", listing.pk)
    listing.playground_without_sign_in = False


def _refuse_closed(plan: Plan, *, buyer: Organisation) -> None:
    listing = plan.listing
    entitlement.refuse_closed(listing)
    if listing.published_at is None and listing.organisation_id != buyer.pk:
        raise NotFound(what="plan")
    if plan.archived_at is not None:
        raise PlanArchived(plan=plan.name)


def _start(organisation: Organisation, plan: Plan, *, by: User, spend_cap: int | None) -> Subscription:
    version = latest_version(plan)
    cap = version.spend_cap if spend_cap is None else spend_cap
    _check_cap(cap)
    ended = _resumable(organisation, version)
    try:
        with transaction.atomic():
            if ended is None:
                if organisation.slug != VISITORS_SLUG:
                    live = organisation.subscriptions.filter(ended_at=None)
                    quotas.admit(organisation, "subscriptions", by=by, count=live.count, what="subscriptions")
                subscription = Subscription.objects.create(
                    organisation=organisation,
                    listing=plan.listing,
                    plan_version=version,
                    spend_cap=cap,
                    created_by=by,
                )
            else:
                subscription = _resume(ended, spend_cap=cap)
    except IntegrityError as conflict:
        raise AlreadySubscribed(organisation=organisation.name, listing=plan.listing.path) from conflict
    epochs.bump("subscription", subscription.pk)
    if organisation.pk == plan.listing.organisation_id:
        own_use.touch(plan.listing)
    return subscription


def _resumable(organisation: Organisation, version: PlanVersion) -> Subscription | None:
    """The subscription on the same terms that ended last, while the month in which it ended still runs.

    Included units, caps and rates are a month's: ending and beginning again must not renew them.
    """
    ended = Subscription.objects.filter(
        organisation=organisation, plan_version=version, ended_at__isnull=False
    ).order_by("-ended_at")
    subscription = ended.first()
    if subscription is None or subscription.ended_at is None:
        return None
    _, month_ends = clock.period_around(subscription.started_at, subscription.ended_at)
    return subscription if clock.now() < month_ends else None


def _resume(subscription: Subscription, *, spend_cap: int) -> Subscription:
    ended = Subscription.objects.filter(pk=subscription.pk, ended_at__isnull=False)
    if not ended.update(ended_at=None, ended_by=None, spend_cap=spend_cap):
        raise AlreadySubscribed(
            organisation=subscription.organisation.name, listing=subscription.listing.path
        )
    subscription.refresh_from_db()
    return subscription


def _end(subscription: Subscription, *, by: User) -> None:
    live = Subscription.objects.filter(pk=subscription.pk, ended_at=None)
    with transaction.atomic():
        if not live.update(ended_at=clock.now(), ended_by=by):
            raise SubscriptionEnded
        epochs.bump("subscription", subscription.pk)
    subscription.refresh_from_db(fields=["ended_at", "ended_by"])


def _check_cap(spend_cap: int) -> None:
    if not 0 <= spend_cap <= MOST:
        raise PlanInvalid(
            reason=f"The spend cap must be from 0 to {exact_text(Money(MOST, settings.CURRENCY))}.",
            param="spend_cap",
        )
