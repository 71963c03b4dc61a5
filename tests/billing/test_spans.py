"""Whatever span and steps are asked for, days and hours together come to what the hours alone do."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from operator import add
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import earnings, recording, spans, usage
from billing.events import Rated
from billing.models import UsageRollup
from billing.spans import Step
from portal.kit import clock, ids
from tests.billing.events import make_event
from tests.billing.shop import Shop, open_shop

pytestmark = pytest.mark.usefixtures("books")
NOW = datetime(2026, 3, 2, 13, 20, tzinfo=UTC)
# Of four days and two months, some at the very edges of an hour and a day.
TIMES = [
    datetime(2026, 2, day, hour, minute, tzinfo=UTC)
    for day in (26, 27, 28)
    for hour, minute in ((0, 0), (7, 59), (8, 0), (23, 59))
] + [
    datetime(2026, 3, 1, 23, 59, tzinfo=UTC),
    datetime(2026, 3, 2, 0, 0, tzinfo=UTC),
    NOW - timedelta(minutes=1),
]
STARTS = [
    datetime(2026, 2, 26, tzinfo=UTC),
    datetime(2026, 2, 26, 8, 30, tzinfo=UTC),
    datetime(2026, 3, 2, 9, tzinfo=UTC),
]
ENDS = [
    datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 2, 28, 8, tzinfo=UTC), datetime(2026, 3, 2, 13, tzinfo=UTC),
    NOW + timedelta(hours=1),
]  # fmt: skip
STEPS: list[Step | None] = ["hour", "day", "month", None]
SPANS = [(start, end) for start, end in product(STARTS, ENDS) if start < end]


@pytest.fixture
def shops(monkeypatch: pytest.MonkeyPatch) -> list[Shop]:
    """Two models of one provider, both called by one consumer at all these times."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    first = open_shop(slug="one", components={"output_tokens": (0, 1, 1)})
    shops = [first, open_shop(slug="two", provider=first.provider, consumer=first.consumer)]
    for number, shop in enumerate(shops):
        shop.subscription.started_at = TIMES[0]
        shop.subscription.save()
        call = make_event(shop)
        calls = []
        for hit, at in enumerate(TIMES):
            answered, units, price = hit != 2, 10**hit + number, 70_000_001 * 3**hit + number
            lines = (Rated("output_tokens", 0, units, price),) if answered else ()
            calls.append(
                call._replace(
                    id=ids.uuid7().hex, finished_ms=int(at.timestamp() * 1000), outcome="succeeded" if answered else "failed",
                    units={"requests": 1, "output_tokens": units}, rated=lines, charge=price if answered else 0,
                )
            )  # fmt: skip
        for batch in (calls[::2], calls[1::2]):
            recording.record(batch, shard=number)
    return shops


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("by", ["day", "model", "key"])
def test_usage_of_any_span_is_the_sum_of_its_hours(
    shops: list[Shop], by: usage.By, step: Step | None
) -> None:
    for start, end in SPANS:
        points = usage.series(shops[0].consumer, start, end, by=by, step=step)
        found = [
            (each.at, each.group, each.totals.output_tokens, each.totals.failed, each.totals.charge.amount)
            for each in points
        ]
        assert sorted(found) == sorted(expected(start, end, by=by, step=step)), (start, end)
        assert [each.at for each in points if each.at] == sorted(each.at for each in points if each.at)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_lines_of_a_chart_are_sums_of_their_hours(shops: list[Shop], step: Step) -> None:
    path = shops[1].listing.path
    for start, end in SPANS:
        groups = usage.series(shops[0].consumer, start, end, by="model", step=None)
        wanted = [each for each in groups if each.group == path]
        points = usage.lines(
            shops[0].consumer, start, end, by="model", step=step, groups=wanted, currency="USD"
        )
        found = {(each.at, each.totals.charge.amount) for each in points if each.group == path}
        hours = expected(start, end, by="model", step=step)
        assert found == {(at, charge) for at, group, *_, charge in hours if group == path}
        assert sum(each.totals.charge.amount for each in points) == sum(charge for *_, charge in hours)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_earnings_of_any_span_are_the_sum_of_its_hours(shops: list[Shop], step: Step) -> None:
    for start, end in SPANS:
        summary = earnings.summary(shops[0].provider, start, end, step=step)
        of: dict[str, list[int]] = {}
        steps: dict[datetime | None, list[int]] = {}
        for each in rollups(start, end):
            for sums in (
                of.setdefault(each.listing.path, [0] * 3),
                steps.setdefault(began(each.hour, step), [0] * 3),
            ):
                sums[:] = map(add, sums, (each.requests, each.charge, each.commission))
        assert figures(summary.total) == [sum(part[at] for part in of.values()) for at in range(3)]
        assert {part.listing: figures(part.earned) for part in summary.listings} == of
        assert {point.at: figures(point.earned) for point in summary.steps} == steps
        assert [point.at for point in summary.steps] == sorted(steps)


def test_earnings_of_too_many_listings_to_name_are_the_same(
    shops: list[Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = earnings.summary(shops[0].provider, STARTS[1], ENDS[1])
    monkeypatch.setattr(earnings, "_MOST_NAMED", 0)
    assert earnings.summary(shops[0].provider, STARTS[1], ENDS[1]) == named
    assert named.total.requests


def test_whole_days_are_read_as_days(shops: list[Shop]) -> None:
    """Hours are read only where a span begins or ends within a day."""
    days, hours = "billing_dailyusage", "billing_usagerollup"
    assert tables_read(shops[0], STARTS[0], ENDS[-1]) == [days]
    assert tables_read(shops[0], STARTS[1], ENDS[-1]) == [hours, days]
    assert tables_read(shops[0], STARTS[0], ENDS[1]) == [days, hours]
    assert tables_read(shops[0], STARTS[2], ENDS[2]) == [hours]


CUTS = [
    NOW - timedelta(hours=5, minutes=40), datetime(2026, 2, 27, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 2, 28, tzinfo=UTC),
    # A day's beginning in Kolkata, Kathmandu and Chatham, and New York's night of an hour more.
    *(datetime(2026, 2, 28, tzinfo=ZoneInfo(zone)) for zone in ("Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham")),
    datetime(2025, 11, 2, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York")),
]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_spans_that_adjoin_add_up_wherever_they_are_cut(shops: list[Shop], step: Step | None) -> None:
    first, last = datetime(2025, 11, 1, tzinfo=UTC), NOW + timedelta(hours=1)
    consumer, provider = shops[0].consumer, shops[0].provider

    def used(start: datetime, end: datetime) -> int:
        return usage.total(usage.series(consumer, start, end, step=step)).charge.amount

    for cut in CUTS:
        assert used(first, cut) + used(cut, last) == used(first, last) > 0, cut
        parts = [earnings.summary(provider, *span) for span in ((first, cut), (cut, last), (first, last))]
        assert parts[0].end == parts[1].start == spans.bound(cut)
        assert parts[0].total.gross + parts[1].total.gross == parts[2].total.gross, cut


def test_the_last_hours_of_time_are_empty_too(shops: list[Shop]) -> None:
    start = datetime(9999, 12, 31, 12, tzinfo=UTC)
    for step in STEPS:
        assert not usage.series(shops[0].consumer, start, start + timedelta(hours=1), step=step)


def tables_read(shop: Shop, start: datetime, end: datetime) -> list[str]:
    with CaptureQueriesContext(connection) as asked:
        usage.totals(shop.consumer, start, end)
    tables = [query["sql"].split('FROM "')[1].split('"')[0] for query in asked.captured_queries]
    return [table for table in tables if table.startswith("billing_")]


def figures(earned: earnings.Earned) -> list[int]:
    return [earned.requests, earned.usage.amount, earned.commission.amount]


def expected(
    start: datetime, end: datetime, *, by: usage.By, step: Step | None
) -> Sequence[tuple[datetime | None, str, int, int, int]]:
    sums: dict[tuple[Any, str], list[int]] = {}
    for each in rollups(start, end):
        group = {"day": "", "model": each.listing.path, "key": "Playground"}[by]
        known = sums.setdefault((began(each.hour, step), group), [0] * 3)
        known[:] = map(add, known, (each.output_tokens, each.failed, each.charge))
    return [(at, group, *found) for (at, group), found in sums.items()]  # type: ignore[misc]


def rollups(start: datetime, end: datetime) -> Sequence[UsageRollup]:
    bounds = {"hour__gte": spans.bound(start), "hour__lt": spans.bound(end)}
    return UsageRollup.objects.filter(**bounds).select_related("listing__organisation")


def began(hour: datetime, step: Step | None) -> datetime | None:
    if step is None or step == "hour":
        return hour if step else None
    return hour.replace(hour=0) if step == "day" else hour.replace(day=1, hour=0)
