"""Taking a plan, changing it, ending it, and who may call what."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from billing import periods
from marketplace import entitlement, pricing, publishing, subscribing
from marketplace.errors import (
    AlreadySubscribed,
    NotSubscribed,
    PlanArchived,
    PlanInvalid,
    SubscriptionEnded,
    VersionNotReady,
)
from marketplace.models import Listing, Plan, Subscription
from portal.accounts.errors import OrganisationSuspended
from portal.accounts.models import Organisation
from portal.kit import clock, epochs
from portal.kit.errors import NotAllowed, NotFound
from tests.conftest import Cast
from tests.marketplace.test_publishing import free_plan, ready


@pytest.fixture
def live(cast: Cast, listing: Listing, model: Path) -> Listing:
    ready(listing, model, cast)
    free_plan(listing, cast)
    publishing.publish(listing, by=cast.owner)
    return listing


@pytest.fixture
def plan(live: Listing) -> Plan:
    return live.plans.get()


@pytest.fixture
def buyer(cast: Cast) -> Organisation:
    return cast.outsider.personal_organisation


def paid(listing: Listing, cast: Cast) -> Plan:
    return pricing.create_plan(
        listing,
        by=cast.owner,
        kind="paid",
        name="Paid",
        slug="paid",
        components=[pricing.Component(meter="output_tokens", amount=1)],
    )


def test_one_subscription_a_listing(cast: Cast, live: Listing, plan: Plan, buyer: Organisation) -> None:
    subscription = subscribing.subscribe(buyer, plan, by=cast.outsider)
    assert subscription.plan_version == pricing.latest_version(plan)
    with pytest.raises(AlreadySubscribed):
        subscribing.subscribe(buyer, paid(live, cast), by=cast.outsider)


@pytest.mark.django_db(transaction=True)
def test_of_simultaneous_subscriptions_one_lives(cast: Cast, plan: Plan, buyer: Organisation) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        try:
            subscribing.subscribe(buyer, plan, by=cast.outsider)
            outcomes.append("subscribed")
        except AlreadySubscribed:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [*["refused"] * 7, "subscribed"]


def test_a_subscriber_keeps_the_terms_they_took(
    cast: Cast, live: Listing, plan: Plan, buyer: Organisation
) -> None:
    subscription = subscribing.subscribe(buyer, plan, by=cast.outsider)
    pricing.revise_plan(plan, by=cast.owner, components=[pricing.Component(meter="requests", included=1)])
    assert entitlement.find(buyer.pk, live).plan_version.number == 1
    subscribing.cancel(subscription, by=cast.outsider)
    assert subscribing.subscribe(buyer, plan, by=cast.outsider).plan_version.number == 2


def test_cancelling_ends_it_at_once(
    cast: Cast,
    live: Listing,
    plan: Plan,
    buyer: Organisation,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    subscription = subscribing.subscribe(buyer, plan, by=cast.outsider)
    name = epochs.name("subscription", subscription.pk)
    before = epochs.read([name])[0]
    with django_capture_on_commit_callbacks(execute=True):
        subscribing.cancel(subscription, by=cast.outsider)
    assert epochs.read([name]) == [before + 1]
    assert subscription.ended_by == cast.outsider
    with pytest.raises(NotSubscribed):
        entitlement.find(buyer.pk, live)
    with pytest.raises(SubscriptionEnded):
        subscribing.cancel(subscription, by=cast.outsider)
    with pytest.raises(SubscriptionEnded):
        subscribing.set_spend_cap(subscription, by=cast.outsider, spend_cap=1)


def test_changing_the_plan_leaves_one_live(
    cast: Cast, live: Listing, plan: Plan, buyer: Organisation
) -> None:
    old = subscribing.subscribe(buyer, plan, by=cast.outsider)
    new = subscribing.change_plan(old, paid(live, cast), by=cast.outsider, spend_cap=3)
    assert entitlement.find(buyer.pk, live) == new
    assert (new.spend_cap, new.started_at >= old.started_at) == (3, True)
    assert Subscription.objects.filter(organisation=buyer, ended_at=None).count() == 1
    assert old.ended_at is not None


def test_a_change_that_fails_ends_nothing(cast: Cast, live: Listing, plan: Plan, buyer: Organisation) -> None:
    old = subscribing.subscribe(buyer, plan, by=cast.outsider)
    with pytest.raises(PlanInvalid):
        subscribing.change_plan(old, paid(live, cast), by=cast.outsider, spend_cap=-1)
    assert entitlement.find(buyer.pk, live) == old


def test_a_change_of_plan_raises_no_cap_of_the_buyers_choice(
    cast: Cast, live: Listing, plan: Plan, buyer: Organisation
) -> None:
    dear = paid(live, cast)
    old = subscribing.subscribe(buyer, plan, by=cast.outsider, spend_cap=7)
    chosen = subscribing.change_plan(old, dear, by=cast.outsider)
    assert chosen.spend_cap == 7
    again = subscribing.change_plan(chosen, plan, by=cast.outsider, spend_cap=9)
    assert again.spend_cap == 9


def test_a_plan_of_another_listing_is_no_change(
    cast: Cast, live: Listing, plan: Plan, buyer: Organisation
) -> None:
    old = subscribing.subscribe(buyer, plan, by=cast.outsider)
    other = publishing.create_listing(cast.acme, by=cast.owner, slug="b", name="B", task="text-generation")
    with pytest.raises(PlanInvalid):
        subscribing.change_plan(old, free_plan(other, cast), by=cast.outsider)


def test_archived_plans_take_nobody_and_drop_nobody(
    cast: Cast, live: Listing, plan: Plan, buyer: Organisation
) -> None:
    subscription = subscribing.subscribe(buyer, plan, by=cast.outsider)
    pricing.archive_plan(plan, by=cast.owner)
    assert entitlement.find(buyer.pk, live) == subscription
    with pytest.raises(PlanArchived):
        subscribing.subscribe(cast.acme, plan, by=cast.owner)


def test_the_role_decides_who_buys(cast: Cast, plan: Plan) -> None:
    with pytest.raises(NotAllowed):
        subscribing.subscribe(cast.acme, plan, by=cast.mate)
    with pytest.raises(NotFound):
        subscribing.subscribe(cast.acme, plan, by=cast.outsider)


def test_a_draft_is_for_its_owner_alone(
    cast: Cast, listing: Listing, model: Path, buyer: Organisation
) -> None:
    ready(listing, model, cast)
    plan = free_plan(listing, cast)
    with pytest.raises(NotFound):
        subscribing.subscribe(buyer, plan, by=cast.outsider)
    listing.refresh_from_db()
    own = subscribing.subscribe(cast.acme, plan, by=cast.owner)
    assert entitlement.find(cast.acme.pk, listing) == own


def test_nothing_is_callable_before_a_version_is_ready(cast: Cast, listing: Listing) -> None:
    subscribing.subscribe(cast.acme, free_plan(listing, cast), by=cast.owner)
    with pytest.raises(VersionNotReady):
        entitlement.find(cast.acme.pk, listing)


@pytest.mark.parametrize("who", ["caller", "provider"])
def test_suspension_stops_calls(cast: Cast, live: Listing, plan: Plan, buyer: Organisation, who: str) -> None:
    subscribing.subscribe(buyer, plan, by=cast.outsider)
    pk = buyer.pk if who == "caller" else cast.acme.pk
    Organisation.objects.filter(pk=pk).update(suspended_at=clock.now())
    with pytest.raises(OrganisationSuspended):
        entitlement.find(buyer.pk, live)


def test_visitors_come_and_go(cast: Cast, live: Listing, plan: Plan) -> None:
    visitors = Organisation.objects.get(slug="visitors")
    for _ in range(2):
        subscribing.admit_visitors(live, by=cast.mate)
    assert live.playground_without_sign_in
    assert entitlement.find(visitors.pk, live).spend_cap == 0
    subscribing.dismiss_visitors(live, by=cast.mate)
    with pytest.raises(NotSubscribed):
        entitlement.find(visitors.pk, live)
    assert not Listing.objects.get(pk=live.pk).playground_without_sign_in


def test_visitors_need_a_free_plan(cast: Cast, listing: Listing) -> None:
    paid(listing, cast)
    with pytest.raises(PlanInvalid):
        subscribing.admit_visitors(listing, by=cast.owner)


@pytest.mark.parametrize("way", ["cancel", "change"])
def test_beginning_again_goes_on_with_the_running_month(
    cast: Cast, live: Listing, plan: Plan, buyer: Organisation, way: str
) -> None:
    first = subscribing.subscribe(buyer, plan, by=cast.outsider)
    month = periods.current(first, clock.now())
    if way == "cancel":
        subscribing.cancel(first, by=cast.outsider)
        again = subscribing.subscribe(buyer, plan, by=cast.outsider, spend_cap=7)
    else:
        other = subscribing.change_plan(first, paid(live, cast), by=cast.outsider)
        again = subscribing.change_plan(other, plan, by=cast.outsider, spend_cap=7)
    assert (again, again.started_at, again.spend_cap) == (first, first.started_at, 7)
    assert (again.ended_at, again.ended_by) == (None, None)
    assert periods.current(again, clock.now()) == month
    assert entitlement.find(buyer.pk, live) == first


def test_beginning_again_in_a_later_month_begins_anew(cast: Cast, plan: Plan, buyer: Organisation) -> None:
    first = subscribing.subscribe(buyer, plan, by=cast.outsider)
    subscribing.cancel(first, by=cast.outsider)
    started, ended = clock.now() - timedelta(days=40), clock.now() - timedelta(days=35)
    Subscription.objects.filter(pk=first.pk).update(started_at=started, ended_at=ended)
    assert subscribing.subscribe(buyer, plan, by=cast.outsider) != first


def test_another_organisations_ended_subscription_is_not_resumed(
    cast: Cast, plan: Plan, buyer: Organisation
) -> None:
    theirs = subscribing.subscribe(cast.acme, plan, by=cast.owner)
    subscribing.cancel(theirs, by=cast.owner)
    assert subscribing.subscribe(buyer, plan, by=cast.outsider) != theirs
