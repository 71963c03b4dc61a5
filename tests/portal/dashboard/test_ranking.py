"""The catalogue by price and by use."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import measuring
from billing.models import DailyUsage
from marketplace import pricing, subscribing
from marketplace.models import Listing
from marketplace.pricing import Component, TermsFields
from portal.kit import clock
from tests.conftest import Cast
from tests.portal.dashboard.offers import DOLLAR, offer, record_calls

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


def call(cast: Cast, listing: Listing, *, times: int, days_ago: int) -> None:
    """What the meter sums up for answered calls."""
    plan = listing.plans.get()
    subscription = subscribing.subscribe(cast.outsider.personal_organisation, plan, by=cast.outsider)
    day = (clock.now() - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert listing.current_version
    DailyUsage.objects.create(
        organisation=subscription.organisation, subscription=subscription, listing=listing,
        version=listing.current_version, day=day, shard=0, requests=times,
    )  # fmt: skip


@pytest.fixture
def shelf(cast: Cast) -> dict[str, Listing]:
    return {
        "dear": offer(cast, "dear", kind="paid", cents=90),
        "gratis": offer(cast, "gratis", kind="free", cents=None),
        "cheap": offer(cast, "cheap", kind="paid", cents=15),
    }


def measure(shelf: dict[str, Listing]) -> None:
    measuring.measure([listing.pk for listing in shelf.values()])


def shown(client: Client, query: str) -> list[str]:
    """The slugs of the cards, in order."""
    items: list[Any] = client.get(f"/?{query}").context["items"]
    return [item.listing.slug for item in items]


def test_the_lowest_price_comes_first(client: Client, shelf: dict[str, Listing]) -> None:
    assert shown(client, "sort=price") == ["gratis", "cheap", "dear"]


def test_a_revised_price_counts_and_an_old_one_does_not(
    cast: Cast, client: Client, shelf: dict[str, Listing]
) -> None:
    terms: TermsFields = {
        "components": [Component(meter="output_tokens", included=0, amount=5 * DOLLAR, per=1_000_000)]
    }
    pricing.revise_plan(shelf["cheap"].plans.get(), by=cast.owner, **terms)
    assert shown(client, "sort=price") == ["gratis", "dear", "cheap"]
    assert shown(client, "sort=price&price=1") == ["gratis", "dear"]


@pytest.mark.parametrize(
    ("price", "kept"),
    [
        ("0", ["gratis"]), ("0.14", ["gratis"]), ("0.15", ["gratis", "cheap"]), ("1", ["gratis", "cheap", "dear"]),
        ("", ["gratis", "cheap", "dear"]), ("NaN", ["gratis", "cheap", "dear"]), ("1e400", ["gratis", "cheap", "dear"]),
        ("0.000000000001", ["gratis", "cheap", "dear"]),
    ],
)  # fmt: skip
def test_a_maximum_price_leaves_out_what_is_dearer(
    client: Client, shelf: dict[str, Listing], price: str, kept: list[str]
) -> None:
    assert shown(client, f"sort=price&price={price}") == kept


def add_plan(cast: Cast, listing: Listing, slug: str, kind: str, **terms: Any) -> None:
    components = [
        Component(meter="output_tokens", included=included, amount=amount, per=1_000_000)
        for included, amount in [terms.pop("tokens")]
    ]
    pricing.create_plan(
        listing, by=cast.owner, kind=kind, name=slug, slug=slug, components=components, **terms
    )


def test_a_free_plan_that_ends_hides_no_price_where_more_is_sold(
    cast: Cast, client: Client, shelf: dict[str, Listing]
) -> None:
    dearest = offer(cast, "dearest", kind="paid", cents=1500)
    add_plan(cast, dearest, "try", "free", tokens=(1000, None))
    assert shown(client, "sort=price") == ["gratis", "cheap", "dear", "dearest"]
    assert shown(client, "price=0") == ["gratis"]
    assert shown(client, "price=14&sort=price") == ["gratis", "cheap", "dear"]
    assert shown(client, "price=15&sort=price") == ["gratis", "cheap", "dear", "dearest"]
    page = client.get("/?sort=price").content.decode()
    assert "Free up to 1K output tokens a month" in page
    assert "$15.00" in page
    assert page.count(">free plan</span>") == 1


def test_a_monthly_fee_comes_after_a_price_per_use(
    cast: Cast, client: Client, shelf: dict[str, Listing]
) -> None:
    listing = offer(cast, "flat", kind="paid", cents=1)
    pricing.archive_plan(listing.plans.get(), by=cast.owner)
    add_plan(cast, listing, "flat", "mixed", tokens=(1000, 100), monthly_fee=9 * DOLLAR)
    assert shown(client, "sort=price") == ["gratis", "cheap", "dear", "flat"]
    assert "a month</span>" in client.get("/?sort=price").content.decode()


def test_the_filter_keeps_a_beginning_of_the_order(
    cast: Cast, client: Client, shelf: dict[str, Listing]
) -> None:
    for cents in (3, 20, 300):
        offer(cast, f"at-{cents}", kind="paid", cents=cents)
    everything = shown(client, "sort=price")
    for price in ("0", "0.03", "0.1", "0.15", "0.2", "0.9", "2", "3"):
        kept = shown(client, f"sort=price&price={price}")
        assert kept == everything[: len(kept)], price


def test_the_most_called_of_the_last_month_comes_first(
    cast: Cast, client: Client, shelf: dict[str, Listing]
) -> None:
    call(cast, shelf["dear"], times=7, days_ago=2)
    call(cast, shelf["cheap"], times=900, days_ago=31)
    call(cast, shelf["gratis"], times=3, days_ago=29)
    measuring.measure_known()
    assert shown(client, "sort=popular") == ["dear", "gratis", "cheap"]
    items = client.get("/?sort=popular").context["items"]
    assert [item.figures.calls for item in items] == [7, 3, 0]


def test_the_fastest_and_the_soonest_come_first_and_the_unmeasured_last(
    client: Client, shelf: dict[str, Listing]
) -> None:
    record_calls(shelf["dear"], 5, output_tokens=101, ttft_ms=400, latency_ms=1400)
    record_calls(shelf["cheap"], 5, output_tokens=41, ttft_ms=30, latency_ms=1030)
    measure(shelf)
    assert shown(client, "sort=throughput") == ["dear", "cheap", "gratis"]
    assert shown(client, "sort=latency") == ["cheap", "dear", "gratis"]
    page = client.get("/?sort=throughput")
    assert [(item.figures.speed, item.figures.ttft_ms) for item in page.context["items"]] == [
        (100, 400),
        (40, 30),
        (None, None),
    ]
    assert "100 tokens/s" in page.content.decode()
    assert "30 ms" in page.content.decode()


def test_only_the_newest_answered_calls_of_the_week_are_measured(
    client: Client, shelf: dict[str, Listing]
) -> None:
    newest = measuring.NEWEST_CALLS
    record_calls(shelf["dear"], newest, days_ago=2, output_tokens=11, ttft_ms=10, latency_ms=1010)
    record_calls(shelf["dear"], newest - 1, days_ago=1, output_tokens=21, ttft_ms=10, latency_ms=1010)
    record_calls(shelf["dear"], 1, outcome="failed", output_tokens=999, ttft_ms=1, latency_ms=2)
    record_calls(shelf["cheap"], newest, days_ago=8, output_tokens=301, ttft_ms=1, latency_ms=1001)
    record_calls(shelf["gratis"], measuring.FEWEST_CALLS - 1, output_tokens=301, ttft_ms=1, latency_ms=1001)
    measure(shelf)
    items = client.get("/?sort=throughput").context["items"]
    assert {item.listing.slug: item.figures.speed for item in items} == {
        "dear": 20,
        "cheap": None,
        "gratis": None,
    }


@pytest.mark.parametrize(("tokens", "latency_ms"), [(1, 20), (1, 90), (80, 21)])
def test_an_answer_in_one_piece_has_a_latency_and_no_speed(
    client: Client, shelf: dict[str, Listing], tokens: int, latency_ms: int
) -> None:
    record_calls(shelf["dear"], 5, output_tokens=tokens, ttft_ms=20, latency_ms=latency_ms)
    measure(shelf)
    item = client.get("/?sort=latency").context["items"][0]
    assert (item.listing.slug, item.figures.speed, item.figures.ttft_ms) == ("dear", None, 20)


@pytest.mark.parametrize("sort", ["relevance", "price", "popular", "throughput", "latency"])
def test_more_listings_take_no_more_queries(
    cast: Cast, client: Client, shelf: dict[str, Listing], sort: str, django_assert_num_queries: Any
) -> None:
    shown(client, f"sort={sort}&price=1")
    with CaptureQueriesContext(connection) as few:
        shown(client, f"sort={sort}&price=1")
    for number in range(4):
        offer(cast, f"more-{number}", kind="paid", cents=20 + number)
    with django_assert_num_queries(len(few)):
        assert len(shown(client, f"sort={sort}&price=1")) == 7
