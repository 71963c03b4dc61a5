"""Plans: each kind keeps its word, and published prices stay."""

from typing import Any

import pytest
from django.db import DatabaseError, transaction

from marketplace import pricing
from marketplace.errors import PlanInvalid, PlanSlugTaken
from marketplace.models import Listing, PlanVersion, PriceComponent
from marketplace.pricing import Component
from portal.kit.errors import NotFound
from tests.conftest import Cast

PRICE = Component(meter="output_tokens", amount=50_000_000, per=1_000_000)
QUOTA = Component(meter="output_tokens", included=1000)
MIXED = Component(meter="output_tokens", included=1000, amount=50_000_000, per=1_000_000)
FREE = Component(meter="requests", amount=0)


@pytest.mark.parametrize(
    ("kind", "terms", "sound"),
    [
        ("free", {}, True),
        ("free", {"components": [QUOTA, FREE]}, True),
        ("free", {"monthly_fee": 1}, False),
        ("free", {"components": [PRICE]}, False),
        ("paid", {"monthly_fee": 1}, True),
        ("paid", {"components": [PRICE]}, True),
        ("paid", {}, False),
        ("paid", {"components": [FREE]}, False),
        ("paid", {"components": [MIXED]}, False),
        ("paid", {"monthly_fee": 1, "components": [QUOTA]}, False),
        ("mixed", {"components": [MIXED]}, True),
        ("mixed", {"monthly_fee": 1, "components": [QUOTA]}, True),
        ("mixed", {"components": [QUOTA]}, False),
        ("mixed", {"components": [PRICE]}, False),
        ("mixed", {"monthly_fee": 1}, False),
        ("gift", {}, False),
        ("paid", {"components": [PRICE, PRICE]}, False),
        ("paid", {"components": [Component(meter="images", amount=1)]}, False),
        ("paid", {"components": [Component(meter="smiles", amount=1)]}, False),
        ("paid", {"components": [Component(meter="requests", amount=-1)]}, False),
        ("paid", {"components": [Component(meter="requests", amount=1, per=0)]}, False),
        ("paid", {"components": [Component(meter="requests", amount=2**62)]}, False),
        ("mixed", {"components": [Component(meter="requests", included=-1, amount=1)]}, False),
        ("free", {"components": [Component(meter="requests")]}, False),
        ("paid", {"monthly_fee": -1}, False),
        ("paid", {"monthly_fee": 1, "requests_per_minute": -1}, False),
        ("paid", {"monthly_fee": 1, "requests_per_minute": 2**31}, False),
    ],
)
def test_a_plan_is_of_its_kind(
    cast: Cast, listing: Listing, kind: str, terms: dict[str, Any], sound: bool
) -> None:
    if sound:
        plan = pricing.create_plan(listing, by=cast.owner, kind=kind, name="Plan", slug="plan", **terms)
        assert plan.versions.count() == 1
        return
    with pytest.raises(PlanInvalid):
        pricing.create_plan(listing, by=cast.owner, kind=kind, name="Plan", slug="plan", **terms)
    assert not listing.plans.exists()


def test_a_priced_plan_caps_spending_by_default(cast: Cast, listing: Listing) -> None:
    make = {"by": cast.owner, "kind": "paid", "name": "Plan"}
    paid = pricing.create_plan(listing, slug="a", components=[PRICE], **make)  # type: ignore[arg-type]
    assert pricing.latest_version(paid).spend_cap == 100 * 10**8
    own = pricing.create_plan(listing, slug="b", components=[PRICE], spend_cap=5, **make)  # type: ignore[arg-type]
    assert pricing.latest_version(own).spend_cap == 5


def test_revising_makes_the_next_version_and_keeps_the_last(cast: Cast, listing: Listing) -> None:
    plan = pricing.create_plan(
        listing, by=cast.owner, kind="paid", name="Plan", slug="plan", components=[PRICE]
    )
    second = pricing.revise_plan(plan, by=cast.owner, monthly_fee=7, components=[PRICE])
    assert (second.number, second.monthly_fee) == (2, 7)
    assert pricing.latest_version(plan) == second
    first = plan.versions.get(number=1)
    assert (first.monthly_fee, first.components.get().amount) == (0, PRICE.amount)
    with pytest.raises(PlanInvalid):
        pricing.revise_plan(plan, by=cast.owner)


def test_the_database_keeps_published_prices(cast: Cast, listing: Listing) -> None:
    pricing.create_plan(listing, by=cast.owner, kind="paid", name="Plan", slug="plan", components=[PRICE])
    for change in (
        lambda: PlanVersion.objects.update(monthly_fee=1),
        lambda: PriceComponent.objects.update(amount=1),
        lambda: PriceComponent.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
            change()


def test_a_slug_names_one_plan(cast: Cast, listing: Listing) -> None:
    pricing.create_plan(listing, by=cast.owner, kind="free", name="Plan", slug="plan")
    with pytest.raises(PlanSlugTaken):
        pricing.create_plan(listing, by=cast.owner, kind="free", name="Plan", slug="plan")


def test_an_outsider_prices_nothing(cast: Cast, listing: Listing) -> None:
    plan = pricing.create_plan(listing, by=cast.owner, kind="free", name="Plan", slug="plan")
    for act in (
        lambda: pricing.create_plan(listing, by=cast.outsider, kind="free", name="P", slug="p"),
        lambda: pricing.revise_plan(plan, by=cast.outsider),
        lambda: pricing.archive_plan(plan, by=cast.outsider),
    ):
        with pytest.raises(NotFound):
            act()
