"""Computed rows are arranged as database rows are: sorted, searched, paged, by the address alone."""

from typing import NamedTuple

import pytest
from django.http import QueryDict

from portal.kit.money import Money
from portal.kit.sheets import Sheet
from portal.kit.tables import Column


class Row(NamedTuple):
    key: int
    name: str
    spend: Money | None


ROWS = [
    Row(1, "beta", Money(30, "USD")), Row(2, "Alpha", Money(700, "USD")), Row(3, "gamma", None), Row(4, "alpha", Money(5, "USD")),
]  # fmt: skip
COLUMNS = [Column("name", "Name", sort="name"), Column("spend", "Spend", kind="money", sort="spend")]


def sheet(query: str = "", *, size: int = 10, order: str = "-spend") -> Sheet:
    return Sheet(ROWS, COLUMNS, query=QueryDict(query), order=order, identity="key", search="name", size=size)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", [2, 1, 4, 3]), ("sort=spend", [4, 1, 2, 3]), ("sort=name", [2, 4, 1, 3]), ("sort=-name", [3, 1, 2, 4]),
        ("sort=key", [2, 1, 4, 3]), ("q=ALPHA", [2, 4]), ("q=nothing", []),
    ],
)  # fmt: skip
def test_rows_are_sorted_and_searched(query: str, keys: list[int]) -> None:
    assert [row.key for row in sheet(query).page] == keys


def test_without_an_order_rows_stay_as_they_came() -> None:
    assert [row.key for row in sheet(order="").page] == [1, 2, 3, 4]
    assert [head.direction for head in sheet(order="").heads] == ["", ""]


def test_headings_say_how_it_is_sorted_and_turn_it_round() -> None:
    name, spend = sheet("by=key&after=2").heads
    assert (name.direction, spend.direction) == ("", "descending")
    assert (name.url, spend.url) == ("?by=key&sort=name", "?by=key&sort=spend")


def test_pages_follow_each_other_and_a_lost_place_is_the_first() -> None:
    first = sheet("q=a", size=3)
    assert [row.key for row in first.page] == [2, 1, 4]
    assert first.first_url == ""
    second = sheet(first.next_url.removeprefix("?"), size=3)
    assert [row.key for row in second.page] == [3]
    assert (second.next_url, second.first_url) == ("", "?q=a")
    assert sheet("after=77", size=3).page == first.page


def test_an_export_has_every_row_that_the_search_leaves() -> None:
    assert list(sheet("q=alpha&sort=spend", size=1).cells()) == [
        ["alpha", Money(5, "USD")], ["Alpha", Money(700, "USD")],
    ]  # fmt: skip


def test_a_search_keeps_the_rest_of_the_address() -> None:
    found = sheet("range=week&sort=name&q=x&after=1&format=csv")
    assert found.kept == {"range": "week", "sort": "name"}
    assert found.clear_url == "?range=week&sort=name"
