"""Tables page by keyset, sort both ways, narrow, and leave as harmless CSV."""

from datetime import timedelta

import pytest
from django.http import QueryDict

from portal.accounts.models import Organisation
from portal.kit import clock
from portal.kit.exports import csv_of, plain
from portal.kit.money import Money
from portal.kit.tables import Choice, Column, Table, containing

COLUMNS = [Column("name", "Name", sort="name"), Column("created_at", "Made", kind="time", sort="created_at")]
KINDS = Choice("kind", "Kind", "kind", Organisation.Kind.choices)


def table(query: str = "", size: int = 3) -> Table:
    return Table(
        Organisation.objects.filter(slug__startswith="row-"), COLUMNS, query=QueryDict(query), size=size,
        search=containing("name"), choices=[KINDS],
    )  # fmt: skip


def names(shown: Table) -> list[str]:
    return [row.name for row in shown.page]


@pytest.fixture(autouse=True)
def rows(db: None) -> None:
    start = clock.now()
    for index in range(8):
        Organisation.objects.create(
            slug=f"row-{index}", name=f"Row {index // 2}", created_at=start + timedelta(hours=index),
            kind="company" if index % 4 == 0 else "individual",
        )  # fmt: skip


def walk(query: str) -> list[str]:
    """All rows, page by page."""
    found: list[str] = []
    shown = table(query)
    while True:
        found += [row.slug for row in shown.page]
        if not shown.next_url:
            return found
        shown = table(shown.next_url.removeprefix("?"))


@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at"])
def test_pages_show_every_row_once_though_sort_values_repeat(sort: str) -> None:
    found = walk(f"sort={sort}")
    assert sorted(found) == [f"row-{index}" for index in range(8)]
    assert found == sorted(found, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", ["id", "-id"])
def test_what_is_near_hides_nothing_that_is_far(sort: str) -> None:
    """The newest are asked for alone only where the newest come first."""
    newest = list(Organisation.objects.filter(slug__startswith="row-").order_by("-id")[:5])

    def shown(query: str) -> Table:
        return Table(
            Organisation.objects.filter(slug__startswith="row-"), [Column("id", "Id", sort="id")], query=QueryDict(query),
            order="-id", size=3, near=lambda rows, _: rows.filter(pk__gte=newest[-1].pk),
        )  # fmt: skip

    found, page = [], shown(f"sort={sort}")
    while True:
        found += [row.slug for row in page.page]
        if not page.next_url:
            break
        page = shown(page.next_url.removeprefix("?"))
    assert sorted(found) == [f"row-{index}" for index in range(8)]


def test_rows_that_arrive_meanwhile_shift_nothing() -> None:
    following = table("sort=-created_at").next_url
    Organisation.objects.create(slug="row-new", name="Row new", created_at=clock.now() + timedelta(days=1))
    second = table(following.removeprefix("?"))
    assert [row.slug for row in second.page] == ["row-4", "row-3", "row-2"]


def test_search_and_choices_narrow_and_odd_ones_are_ignored() -> None:
    assert names(table("q=row+3")) == ["Row 3", "Row 3"]
    assert len(table("kind=company", size=9).page) == 2
    assert len(table("kind=nonsense&sort=password&after=forged", size=9).page) == 8
    assert table("q=nothing").is_filtered


def test_a_click_on_a_heading_turns_the_order_round() -> None:
    name, made = table("sort=name").heads
    assert (name.direction, name.url) == ("ascending", "?sort=-name")
    assert (made.direction, made.url) == ("", "?sort=created_at")


def test_csv_holds_every_filtered_row_and_no_formula() -> None:
    Organisation.objects.create(slug="row-evil", name="=HYPERLINK(1)", created_at=clock.now())
    lines = csv_of(table("sort=name", size=2), name="rows").content.decode().splitlines()
    assert lines[0] == "Name,Made"
    assert len(lines) == 10
    assert lines[1].startswith("'=HYPERLINK")
    assert plain(Money(-15_000_000, "USD")) == "USD -0.15"
