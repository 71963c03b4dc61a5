"""The newest and most called listings are where searches look first, and nothing is lost to those who are neither."""

from copy import copy
from typing import Any

import pytest
from django.db import connection

from marketplace import catalogue, prominence, publishing
from marketplace.catalogue import Filters
from marketplace.models import Figures, Listing
from portal.kit import ids
from tests.conftest import Cast
from tests.marketplace.test_catalogue import shelve
from tests.marketplace.test_orders import nodes

pytestmark = pytest.mark.django_db


def prominent() -> set[str]:
    return set(Listing.objects.filter(prominent=True).values_list("slug", flat=True))


def test_the_newest_and_the_most_called_are_prominent(cast: Cast) -> None:
    listings = [shelve(cast, f"chat-{number}") for number in range(6)]
    assert len(prominent()) == 6, "who comes anew is one of the newest"
    Figures.objects.filter(listing=listings[1]).update(calls=9)
    prominence.refresh(most=1)
    assert prominent() == {"chat-5", "chat-1"}
    Figures.objects.filter(listing=listings[2]).update(calls=10)
    prominence.refresh(most=1)
    assert prominent() == {"chat-5", "chat-2"}


def test_a_draft_stays_as_it_is(cast: Cast) -> None:
    publishing.create_listing(cast.acme, by=cast.owner, slug="draft", name="Draft", task="text-generation")
    for number in range(2):
        shelve(cast, f"chat-{number}")
    prominence.refresh(most=1)
    assert prominent() == {"draft", "chat-1"}


def test_of_a_common_word_prominent_listings_are_ranked(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_RANKED", 2)
    monkeypatch.setattr(catalogue, "_headed", lambda query: set())
    for number in range(6):
        shelve(cast, f"chat-{number}")
    Listing.objects.exclude(slug__in=["chat-2", "chat-4"]).update(prominent=False)
    assert {each.slug for each in catalogue.search("chat")} == {"chat-2", "chat-4"}


@pytest.mark.parametrize(
    ("word", "others", "card"),
    [("assistant", "other", "It was made for the assistant."), ("cat", "category", "It sorts.")],
)
def test_a_name_is_found_among_many_who_mention_it_or_begin_with_it(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, word: str, others: str, card: str
) -> None:
    """Be it older than all of them, and less called."""
    monkeypatch.setattr(catalogue, "MOST_RANKED", 2)
    shelve(cast, word)
    for number in range(6):
        shelve(cast, f"{others}-{number}", card=card)
    assert next(iter(catalogue.search(word))).slug == word


def test_a_price_narrows_before_the_ranked_are_chosen(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_RANKED", 2)
    monkeypatch.setattr(catalogue, "_headed", lambda query: set())
    for number in range(6):
        shelve(cast, f"chat-{number}")
    Figures.objects.exclude(listing__slug="chat-3").update(token_rate=10)
    Figures.objects.filter(listing__slug="chat-3").update(token_rate=5)
    assert [each.slug for each in catalogue.search("chat", Filters(token_rate=5))] == ["chat-3"]


def test_who_is_withdrawn_takes_no_place(cast: Cast) -> None:
    listings = [shelve(cast, f"chat-{number}") for number in range(4)]
    Figures.objects.filter(listing=listings[0]).update(calls=9)
    Figures.objects.filter(listing=listings[1]).update(calls=8)
    publishing.withdraw(listings[0], by=cast.owner, reason="Broken.")
    prominence.refresh(most=1)
    assert prominent() == {"chat-1", "chat-3"}


def test_where_prominent_ones_are_too_few_any_are_found(cast: Cast) -> None:
    for slug in ("needle", "needle-two", "chat"):
        shelve(cast, slug)
    Listing.objects.exclude(slug="needle-two").update(prominent=False)
    assert {each.slug for each in catalogue.search("needle")} == {"needle", "needle-two"}
    assert {each.slug for each in catalogue.search("need")} == {"needle", "needle-two"}, "still being typed"


def test_prominent_ones_are_found_through_an_index_of_their_own(cast: Cast) -> None:
    kept, many = shelve(cast, "chat"), []
    for number in range(2000):
        many.append(copy(kept))
        many[-1].pk, many[-1].slug, many[-1].prominent = ids.uuid7(), f"chat-{number}", number == 7
        many[-1].skeleton = None
    Listing.objects.bulk_create(many)
    query = catalogue._query(["chat"], typing=False)
    rows = catalogue.live().filter(catalogue.SearchVectorExact(catalogue._WHOLE, query), prominent=True)
    sql, params = rows.order_by().values_list("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE marketplace_listing")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        plan: dict[str, Any] = cursor.fetchone()[0][0]["Plan"]
    assert "marketplace_listing_prominent" in {node.get("Index Name") for node in nodes(plan)}
