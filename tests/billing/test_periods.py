"""Billing periods tile the line of time, whatever the anchor, and are made once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from billing import periods
from billing.errors import NoPeriod
from billing.models import BillingPeriod
from marketplace.models import Subscription
from portal.kit import clock
from tests.billing.shop import open_shop

ANCHORS = st.one_of(
    st.datetimes(datetime(2023, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(
        [datetime(year, month, day, 23, 59, 59, 999999, tzinfo=UTC) for year in (2023, 2024, 2028)
         for month, day in ((1, 29), (1, 30), (1, 31), (12, 31), (2, 28), (8, 31))]
        + [datetime(2024, 2, 29, tzinfo=UTC), datetime(2028, 2, 29, 12, tzinfo=UTC)]
    ),
)  # fmt: skip


@given(ANCHORS)
def test_periods_tile_the_line_and_keep_the_anchor_day(anchor: datetime) -> None:
    subscription = Subscription(started_at=anchor)
    expected = anchor
    for month in range(50):
        starts, ends = periods.bounds(subscription, expected)
        assert starts == expected < ends
        assert periods.bounds(subscription, ends - timedelta(microseconds=1)) == (starts, ends)
        assert starts == clock.add_months(anchor, month)
        expected = ends


@given(ANCHORS, st.timedeltas(timedelta(0), timedelta(days=1500)))
def test_every_moment_lies_in_its_own_period(anchor: datetime, later: timedelta) -> None:
    starts, ends = periods.bounds(Subscription(started_at=anchor), anchor + later)
    assert starts <= anchor + later < ends


def test_nothing_is_billed_before_the_start() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(NoPeriod):
        periods.bounds(Subscription(started_at=start), start - timedelta(microseconds=1))


def test_a_burst_of_first_calls_makes_one_period(books: None) -> None:
    subscription = open_shop().subscription
    found = []

    def first_call() -> None:
        found.append(periods.current(subscription, clock.now()).pk)
        connection.close()

    threads = [threading.Thread(target=first_call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == BillingPeriod.objects.count() == 1
