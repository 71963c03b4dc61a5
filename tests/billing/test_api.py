"""The books over HTTP: typed, paged, and nobody else's."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from billing import recording
from billing.credit import leases
from billing.events import Rated
from billing.models import BillingPeriod, KeyDay
from portal.accounts import api_keys
from portal.accounts.key_limits import KeyLimits
from portal.kit import clock, ids
from tests.billing.events import make_event
from tests.billing.shop import Shop, open_shop
from tests.conftest import Cast

pytestmark = pytest.mark.urls("tests.billing.urls")
ROUTES = ["/api/usage/", "/api/requests/", "/api/invoices/draft/", "/api/earnings/"]
CALLS = 7


@pytest.fixture
def shop(books: None, cast: Cast) -> Shop:
    """Acme has made seven calls of 10 output tokens at 3 micro-minor units each, on a plan with a fee."""
    shop = open_shop(components={"output_tokens": (0, 3, 1)}, monthly_fee=500, consumer=cast.acme)
    events = [
        make_event(shop, units={"requests": 1, "output_tokens": 10}, charge=30,
                   rated=(Rated("output_tokens", 10 * number, 10, 30),))
        for number in range(CALLS)
    ]  # fmt: skip
    recording.record(events, shard=0)
    return shop


def read(client: Client, path: str, **query: Any) -> Any:
    answer = client.get(path, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_usage_totals_and_series(shop: Shop, cast: Cast) -> None:
    answer = read(cast.browser(cast.mate), "/api/usage/", by="model", step="all")
    assert answer["totals"]["output_tokens"] == 10 * CALLS
    assert answer["totals"]["charge"] == {"amount": 30 * CALLS, "currency": "USD", "major": "0.0000021"}
    (point,) = answer["series"]
    assert point["group"] == shop.listing.path
    assert point["totals"] == answer["totals"]


@pytest.mark.parametrize("route", ["/api/usage/", "/api/earnings/"])
def test_spans_that_adjoin_add_up_and_say_which_bounds_they_used(
    books: None, cast: Cast, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop(components={"output_tokens": (0, 3, 1)}, provider=cast.acme, consumer=cast.acme)
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 3, 2, 13, 20, tzinfo=UTC))
    shop.subscription.started_at = clock.now() - timedelta(days=20)
    shop.subscription.save()
    recording.record([make_event(shop) for _ in range(CALLS)], shard=0)
    client, cut = cast.browser(cast.mate), datetime(2026, 3, 2, 18, 50, tzinfo=ZoneInfo("Asia/Kolkata"))
    spans = [
        {"end": cut.isoformat()}, {"start": cut.isoformat(), "end": (cut + timedelta(days=9)).isoformat()}, {},
    ]  # fmt: skip
    answers = [read(client, route, **span) for span in spans]
    name = "totals" if route == "/api/usage/" else "total"
    assert [answer[name]["requests"] for answer in answers] == [CALLS, 0, CALLS]
    assert answers[0]["end"] == answers[1]["start"] == "2026-03-02T14:00:00Z"


@pytest.mark.parametrize(
    ("bounds", "status"),
    [({"end": "0001-01-01T00:00:00Z"}, 400), ({"start": "1969-12-31T23:00:00Z"}, 400),
     ({"end": "9999-12-31T23:59:59Z"}, 400), ({"start": "9999-12-31T23:30:00Z", "end": "9999-12-31T23:59:00Z"}, 400),
     ({"end": "9999-12-31T23:59:59-12:00"}, 400)],
)  # fmt: skip
@pytest.mark.parametrize("route", ["/api/usage/", "/api/earnings/"])
def test_spans_at_the_ends_of_time_are_refused(
    books: None, cast: Cast, route: str, bounds: dict[str, str], status: int
) -> None:
    assert cast.browser(cast.mate).get(route, bounds).status_code == status


def test_requests_page_by_key_without_gap_or_repeat(shop: Shop, cast: Cast) -> None:
    client, seen = cast.browser(cast.owner), []
    answer = read(client, "/api/requests/", limit=3)
    while True:
        seen += [row["id"] for row in answer["results"]]
        if not answer["next"]:
            break
        answer = read(client, answer["next"])
    assert len(seen) == len(set(seen)) == CALLS
    assert seen == sorted(seen, reverse=True)
    assert answer["results"][0]["charge"]["amount"] == 30


def test_requests_filter_by_time_and_outcome(shop: Shop, cast: Cast) -> None:
    client, now = cast.browser(cast.owner), clock.now()
    assert read(client, "/api/requests/", outcome="failed")["results"] == []
    assert read(client, "/api/requests/", until=(now - timedelta(hours=1)).isoformat())["results"] == []
    assert len(read(client, "/api/requests/", listing_id=str(shop.listing.pk))["results"]) == CALLS
    assert read(client, "/api/requests/", key_id=str(ids.uuid7()))["results"] == []
    assert client.get("/api/requests/", {"outcome": "nonsense"}).status_code == 400


def test_requests_before_and_after_a_moment_are_all_of_them(shop: Shop, cast: Cast) -> None:
    client = cast.browser(cast.owner)
    rows = read(client, "/api/requests/")["results"]
    for row in rows:
        born = ids.born(ids.parse("req", row["id"]))
        for cut in (born, born + timedelta(microseconds=400), born - timedelta(microseconds=1)):
            text = cut.astimezone(ZoneInfo("Asia/Kathmandu")).isoformat()
            before, after = (
                read(client, "/api/requests/", **{name: text})["results"] for name in ("until", "since")
            )
            assert [*after, *before] == rows


def test_draft_invoice_has_the_fee_and_the_usage(shop: Shop, cast: Cast) -> None:
    answer = read(cast.browser(cast.owner), "/api/invoices/draft/")
    (section,) = answer["sections"]
    assert [(line["meter"], line["quantity"], line["amount"]["amount"]) for line in section["lines"]] == [
        ("fee", 1, 500),
        ("output_tokens", 10 * CALLS, 30 * CALLS),
    ]
    assert answer["total"]["amount"] == 500 + 30 * CALLS


def test_a_fresh_subscription_owes_its_fee_before_any_call(cast: Cast, books: None) -> None:
    open_shop(monthly_fee=700, consumer=cast.acme)
    assert read(cast.browser(cast.owner), "/api/invoices/draft/")["total"]["amount"] == 700
    assert not BillingPeriod.objects.exists()


def test_earnings_are_the_providers(shop: Shop, cast: Cast) -> None:
    assert read(cast.browser(cast.owner), "/api/earnings/")["total"]["gross"]["amount"] == 0
    sale = open_shop(components={"output_tokens": (0, 3, 1)}, monthly_fee=200, provider=cast.acme)
    leases.open_for(sale.subscription, clock.now())
    units = {"requests": 1, "output_tokens": 5}
    recording.record(
        [make_event(sale, units=units, charge=15, rated=(Rated("output_tokens", 0, 5, 15),))], shard=0
    )
    answer = read(cast.browser(cast.owner), "/api/earnings/")
    total = {
        name: answer["total"][name]["amount"] for name in ("usage", "fees", "gross", "commission", "net")
    }
    assert total == {"usage": 15, "fees": 200, "gross": 215, "commission": 21, "net": 194}
    assert answer["balance"]["amount"] == 194
    assert [row["listing"] for row in answer["listings"]] == [sale.listing.path]


@pytest.mark.parametrize("route", ROUTES)
def test_an_outsider_sees_nothing_and_a_stranger_is_refused(shop: Shop, cast: Cast, route: str) -> None:
    outside = read(cast.browser(cast.outsider), route)
    assert str(shop.listing.pk) not in str(outside)
    assert shop.listing.path not in str(outside)
    assert Client().get(route).status_code == 401


@pytest.mark.parametrize("route", ROUTES)
def test_query_counts_stay_constant(
    shop: Shop, cast: Cast, route: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = cast.browser(cast.owner)
    recording.record([make_event(shop) for _ in range(20)], shard=1)
    for _ in range(5):
        recording.record([make_event(open_shop(consumer=cast.acme))], shard=1)
    with django_assert_max_num_queries(13):
        read(client, route)


def test_a_keys_budgets_say_what_is_spent_and_left(shop: Shop, cast: Cast) -> None:
    limits = KeyLimits(daily_budget=100, total_budget=500)
    key, _ = api_keys.issue(cast.acme, by=cast.owner, name="app", scopes=["inference"], limits=limits)
    KeyDay.objects.create(api_key_id=key.pk, day=clock.now().date(), charge=30)
    KeyDay.objects.create(api_key_id=key.pk, day=clock.now().date() - timedelta(days=1), charge=40)
    found = read(cast.browser(cast.owner), f"/api/keys/{key.pk}/budgets/")
    told = {
        each["span"]: (each["allowed"]["amount"], each["spent"]["amount"], each["left"]["amount"])
        for each in found
    }
    assert told == {"day": (100, 30, 70), "total": (500, 70, 430)}
    assert [bool(each["ends"]) for each in found] == [True, False]
    assert cast.browser(cast.outsider).get(f"/api/keys/{key.pk}/budgets/").status_code == 404
