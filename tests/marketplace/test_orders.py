"""The catalogue's orders and filters come from indexes, and a common word ranks a bounded number of listings."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from marketplace import catalogue, pricing
from marketplace.catalogue import Filters, Sort
from marketplace.models import Figures, Listing
from marketplace.pricing import Component
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
    figures = Figures.objects.get(listing=listing)
    assert (figures.parameter_count, figures.monthly_fee, figures.unit_price, figures.token_rate) == (
        30,
        0,
        0,
        4_000_000,
    )
    pricing.archive_plan(listing.plans.exclude(pk=plan.pk).get(), by=cast.owner)
    figures.refresh_from_db()
    assert figures.unit_price == 5_500_000
    pricing.revise_plan(plan, by=cast.owner, components=[Component(meter="output_tokens", amount=1, per=1)])
    figures.refresh_from_db()
    assert (figures.unit_price, figures.token_rate) == (1_000_000, 1_000_000)


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
