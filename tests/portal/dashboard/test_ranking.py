"""The catalogue by price and by use."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import UsageRollup
from marketplace import pricing, publishing, subscribing
from marketplace.models import Listing, Version
from marketplace.pricing import Component, TermsFields
from portal.kit import clock
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
DOLLAR = 100_000_000


def offer(cast: Cast, slug: str, *, kind: str, cents: int | None) -> Listing:
    """A published listing at so many cents per million output tokens; None only includes some."""
    made = publishing.create_listing(
        cast.acme, by=cast.owner, slug=slug, name=slug.title(), task="text-generation"
    )
    made.current_version = Version.objects.create(
        listing=made, number=1, digest=slug.ljust(64, "0"), task=made.task, architecture="llama", context_length=128,
        parameter_count=1000, weight_bytes=4000, memory_bytes=8000, state=Version.State.READY, created_by=cast.owner,
    )  # fmt: skip
    made.save()
    amount = None if cents is None else cents * DOLLAR // 100
    included = 1000 if cents is None else 0
    terms: TermsFields = {
        "components": [Component(meter="output_tokens", included=included, amount=amount, per=1_000_000)]
    }
    pricing.create_plan(made, by=cast.owner, kind=kind, name="Standard", slug="standard", **terms)
    publishing.publish(made, by=cast.owner)
    return made


def call(cast: Cast, listing: Listing, *, times: int, days_ago: int) -> None:
    """What the meter sums up for answered calls."""
    plan = listing.plans.get()
    subscription = subscribing.subscribe(cast.outsider.personal_organisation, plan, by=cast.outsider)
    hour = (clock.now() - timedelta(days=days_ago)).replace(minute=0, second=0, microsecond=0)
    assert listing.current_version
    UsageRollup.objects.create(
        organisation=subscription.organisation, subscription=subscription, listing=listing,
        version=listing.current_version, hour=hour, shard=0, requests=times,
    )  # fmt: skip


@pytest.fixture
def shelf(cast: Cast) -> dict[str, Listing]:
    return {
        "dear": offer(cast, "dear", kind="paid", cents=90),
        "gratis": offer(cast, "gratis", kind="free", cents=None),
        "cheap": offer(cast, "cheap", kind="paid", cents=15),
    }


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


def test_the_most_called_of_the_last_month_comes_first(
    cast: Cast, client: Client, shelf: dict[str, Listing]
) -> None:
    call(cast, shelf["dear"], times=7, days_ago=2)
    call(cast, shelf["cheap"], times=900, days_ago=31)
    call(cast, shelf["gratis"], times=3, days_ago=29)
    assert shown(client, "sort=popular") == ["dear", "gratis", "cheap"]
    items = client.get("/?sort=popular").context["items"]
    assert [item.calls for item in items] == [7, 3, 0]


@pytest.mark.parametrize("sort", ["relevance", "price", "popular"])
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
