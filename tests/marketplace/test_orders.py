"""The catalogue's orders and filters come from indexes, and a common word ranks a bounded number of listings."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketplace import catalogue, figures, pricing
from marketplace.catalogue import Filters, Sort
from marketplace.models import Figures, Listing, Plan, PlanVersion
from marketplace.pricing import Component, TermsFields
from portal.kit import clock
from portal.kit.ids import uuid7
from tests.conftest import Cast
from tests.marketplace.test_catalogue import shelve

ORDERS: list[tuple[Sort, str]] = [
    ("newest", "marketplace_listing_live"), ("name", "marketplace_listing_by_name"), ("smallest", "figures_by_size"),
    ("price", "figures_by_price"), ("popular", "figures_by_calls"), ("throughput", "figures_by_speed"),
    ("latency", "figures_by_ttft"),
]  # fmt: skip


@pytest.fixture
def no_sorting(db: None) -> Iterator[None]:
    """A planner that reads a whole table or sorts only where nothing else gives the order."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        cursor.execute("SET enable_hashjoin = off; SET enable_mergejoin = off")
        yield
        cursor.execute("RESET ALL")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


@pytest.mark.usefixtures("no_sorting")
@pytest.mark.parametrize(("sort", "index"), ORDERS)
def test_a_page_in_any_order_is_read_from_an_index(cast: Cast, sort: Sort, index: str) -> None:
    shelve(cast, "one")
    sql, params = catalogue.search(sort=sort)[:25].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        plan = cursor.fetchone()[0][0]["Plan"]
    found = list(nodes(plan))
    assert index in {node.get("Index Name") for node in found}
    assert not [node for node in found if node["Node Type"] in ("Sort", "Incremental Sort")]


def test_prices_and_sizes_follow_the_plans_and_the_version(cast: Cast) -> None:
    listing = shelve(cast, "one", size=30)
    plan = pricing.create_plan(
        listing, by=cast.owner, kind="paid", name="Tokens", slug="tokens",
        components=[Component(meter="input_tokens", amount=3, per=2), Component(meter="output_tokens", amount=4, per=1)],
    )  # fmt: skip
    kept = Figures.objects.get(listing=listing)
    assert (kept.parameter_count, kept.monthly_fee, kept.unit_price, kept.token_rate) == (30, 0, 0, 0)
    pricing.archive_plan(listing.plans.exclude(pk=plan.pk).get(), by=cast.owner)
    kept.refresh_from_db()
    assert kept.unit_price == 4_000_000
    pricing.revise_plan(plan, by=cast.owner, components=[Component(meter="output_tokens", amount=1, per=1)])
    kept.refresh_from_db()
    assert (kept.unit_price, kept.token_rate) == (1_000_000, 1_000_000)


TERMS = st.fixed_dictionaries({
    "monthly_fee": st.sampled_from([0, 0, 5, 900]),
    "components": st.lists(
        st.builds(
            Component, meter=st.sampled_from(["input_tokens", "output_tokens", "requests"]),
            included=st.sampled_from([0, 1000]), amount=st.sampled_from([None, 0, 1, 3, 10**15]),
            per=st.sampled_from([1, 7, 10**6]),
        ), max_size=3, unique_by=lambda each: each.meter,
    ),
})  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.lists(TERMS, max_size=4))
def test_what_is_sorted_by_is_the_price_of_the_plan_that_the_card_shows(
    cast: Cast, plans: list[TermsFields]
) -> None:
    listing = shelve(cast, uuid7().hex[-12:])
    listing.plans.update(archived_at=clock.now())
    for number, terms in enumerate(plans):
        plan = Plan.objects.create(listing=listing, kind="mixed", name="P", slug=f"p-{number}")
        pricing._add_version(plan, number=1, terms=pricing.Terms(**terms))
    figures.refresh(listing.pk)
    kept = Figures.objects.get(listing=listing)
    offers = PlanVersion.objects.filter(plan__listing=listing, plan__archived_at=None)
    shown = figures.cheapest(offers.prefetch_related("components"))
    if shown is None:
        assert (kept.monthly_fee, kept.unit_price, kept.token_rate) == (None, None, None)
        return
    prices = [-(-(each.amount or 0) * 10**6 // each.per) for each in shown.components.all()]
    assert (kept.monthly_fee, kept.unit_price) == (shown.monthly_fee, min(max(prices, default=0), 9 * 10**18))


def test_listings_that_are_there_already_get_the_same_prices(cast: Cast) -> None:
    listing = shelve(cast, "one")
    component = Component(meter="output_tokens", amount=3, per=2)
    pricing.create_plan(listing, by=cast.owner, kind="paid", name="P", slug="p", components=[component])
    pricing.archive_plan(listing.plans.exclude(slug="p").get(), by=cast.owner)
    prices = Figures.objects.values_list("monthly_fee", "unit_price", "token_rate")
    expected = prices.get()
    Figures.objects.update(monthly_fee=1, unit_price=1, token_rate=None)
    migration: Any = import_module("marketplace.migrations.0010_cheapest_plans")
    with connection.cursor() as cursor:
        cursor.execute(migration.REFILL, ["USD"])
    assert prices.get() == expected == (0, 1_500_000, 1_500_000)


def test_every_listing_is_there_in_every_order(cast: Cast) -> None:
    for number in range(3):
        shelve(cast, f"number-{number}")
    for sort in catalogue.SORTS:
        assert {each.slug for each in catalogue.search(sort=sort)} == {f"number-{n}" for n in range(3)}


def test_of_a_common_word_the_newest_and_the_most_called_are_ranked(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MOST_RANKED", 2)
    listings = [shelve(cast, f"chat-{number}") for number in range(8)]
    Figures.objects.filter(listing=listings[4]).update(calls=9)
    Figures.objects.filter(listing=listings[3]).update(calls=8)
    found = {each.slug for each in catalogue.search("chat")}
    assert {"chat-6", "chat-7", "chat-4", "chat-3"} <= found
    assert len(found) <= 6


def test_a_rare_word_is_found_among_many(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_RANKED", 2)
    shelve(cast, "needle")
    for number in range(6):
        shelve(cast, f"chat-{number}")
    assert [each.slug for each in catalogue.search("needle")] == ["needle"]
    assert [each.slug for each in catalogue.search("chat needle")] == []


def test_a_filter_on_size_and_an_order_go_together(cast: Cast) -> None:
    shelve(cast, "small", size=1)
    shelve(cast, "large", size=100)
    found = catalogue.search(filters=Filters(largest=10), sort="throughput")
    assert [each.slug for each in found] == ["small"]
    assert Listing.objects.count() == 2
