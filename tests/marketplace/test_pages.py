"""Pages of the catalogue's API follow one another in any order, and a late one begins where an index finds it."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client

from marketplace import catalogue
from marketplace.catalogue import Sort
from marketplace.models import Figures, Listing
from portal.kit import keysets
from tests.conftest import Cast
from tests.marketplace.test_catalogue import shelve
from tests.marketplace.test_orders import ORDERS, no_sorting, nodes

__all__ = ["no_sorting"]
# Size, fee, price of a unit, calls, speed, first token: equal ones side by side, and what was never measured.
FIGURES: list[tuple[int, int | None, int | None, int, int | None, int | None]] = [
    (1, 0, 5, 0, None, None), (1, 0, 5, 9, 70, 30), (2, None, None, 9, None, 30), (2, 0, 4, 3, 70, None),
    (3, 7, 0, 0, 10, 20), (1, None, None, 0, None, None), (9, 7, 1, 1, 99, 10), (9, 7, 1, 1, 99, 10),
]  # fmt: skip


@pytest.fixture
def shelf(cast: Cast) -> None:
    for number, (size, fee, unit, calls, speed, ttft) in enumerate(FIGURES):
        listing = shelve(cast, f"chat-{number}", name=f"Chat {number % 3}")
        Figures.objects.filter(listing=listing).update(
            parameter_count=size, monthly_fee=fee, unit_price=unit, calls=calls, tokens_per_1000_s=speed, ttft_ms=ttft
        )  # fmt: skip
        published = datetime(2026, 1, 1 + number // 2, tzinfo=UTC)
        Listing.objects.filter(pk=listing.pk).update(published_at=published)


def ask(address: str, *, expect: int = 200) -> Any:
    answer = Client().get(address)
    assert answer.status_code == expect, answer.content
    return answer.json()


def walk(address: str) -> list[list[str]]:
    pages = []
    while address:
        page = ask(address)
        pages.append([each["slug"] for each in page["results"]])
        address = page["next"]
    return pages


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize(
    "query", [*(f"sort={sort}" for sort in catalogue.SORTS), "q=chat", "q=cha&sort=latency"]
)
def test_pages_follow_one_another(query: str, size: int) -> None:
    asked = parse_qs(query)
    sort: Any = asked.get("sort", ["relevance"])[0]
    whole = [each.slug for each in catalogue.search(asked.get("q", [""])[0], sort=sort)]
    pages = walk(f"/api/listings/?limit={size}&{query}")
    assert [slug for page in pages for slug in page] == whole
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert len(whole) == len(FIGURES)


@pytest.mark.usefixtures("shelf")
def test_a_page_stays_where_it_was_when_listings_arrive(cast: Cast) -> None:
    first = ask("/api/listings/?limit=3&sort=newest")
    shelve(cast, "newcomer")
    rest = [slug for page in walk(first["next"]) for slug in page]
    assert sorted([each["slug"] for each in first["results"]] + rest) == [f"chat-{n}" for n in range(8)]


@pytest.mark.usefixtures("shelf")
def test_a_cursor_is_good_for_its_own_order_alone() -> None:
    cursor = parse_qs(urlsplit(ask("/api/listings/?limit=3&sort=price")["next"]).query)["after"][0]
    assert ask(f"/api/listings/?sort=price&after={cursor}")["results"]
    for query in (f"sort=name&after={cursor}", f"q=chat&after={cursor}", f"sort=price&after={cursor[:-1]}"):
        refusal = ask(f"/api/listings/?{query}", expect=400)["error"]
        assert "after must be" in refusal["message"]


@pytest.mark.usefixtures("shelf", "no_sorting")
@pytest.mark.parametrize(("sort", "index"), ORDERS)
def test_a_late_page_begins_where_the_index_finds_it(sort: Sort, index: str) -> None:
    order = catalogue.order_of("", sort)
    assert order is not None
    found = catalogue.search(sort=sort)
    last = next(each for each in found if order[0].value(each) is not None)
    for part in keysets._behind(found, order, keysets.position(last, order)):
        sql, params = part[:3].query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            plan = list(nodes(cursor.fetchone()[0][0]["Plan"]))
        (read,) = [node for node in plan if node.get("Index Name") == index]
        assert order[0].name.split("__")[-1] in read["Index Cond"]
        assert "Filter" not in read, "rows with the same keys are read for nothing"
        assert not [node for node in plan if node["Node Type"] == "Sort"]
