"""Single calls are kept as long as the operator says; what they came to is kept for ever."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from billing import invariants, partitions, recording, retention
from billing.models import DailyUsage, UsageEvent, UsageRollup
from portal.kit import clock, ids
from tests.billing.events import make_event
from tests.billing.shop import open_shop

AGES = [400, 95, 94, 2, 0]


@pytest.fixture(autouse=True)
def calls(books: None) -> None:
    """One call of each age in days, all of one shop."""
    shop = open_shop()
    for age in AGES:
        at = clock.now() - timedelta(days=age)
        event = make_event(shop, id=ids.first_at(at).hex, finished_ms=int(at.timestamp() * 1000))
        assert recording.record([event], shard=0) == 1


def ages() -> list[int]:
    today = clock.now().date()
    return [(today - event.finished_at.date()).days for event in UsageEvent.objects.order_by("id")]


def test_all_is_kept_unless_the_operator_says_otherwise() -> None:
    assert retention.drop_expired() == []
    assert ages() == AGES
    assert retention.kept_from() is None


def test_old_days_go_and_what_they_came_to_stays(settings: Any) -> None:
    settings.USAGE_EVENT_DAYS = 94
    dropped = retention.drop_expired()
    today = clock.now().date()
    assert {(today - day).days for day in dropped} >= {400, 95}
    assert min((today - day).days for day in dropped) == 95
    assert ages() == [94, 2, 0]
    assert sum(UsageRollup.objects.values_list("requests", flat=True)) == len(AGES)
    assert sum(DailyUsage.objects.values_list("requests", flat=True)) == len(AGES)
    assert invariants.check() == []
    assert retention.drop_expired() == []


def test_an_event_that_is_lost_is_still_found_out(settings: Any) -> None:
    settings.USAGE_EVENT_DAYS = 94
    retention.drop_expired()
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE usage_event_{clock.now():%Y%m%d}")
    assert {breach.invariant for breach in invariants.check()} == {"rollups equal events"}


def test_a_day_that_somebody_reads_is_dropped_later(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.USAGE_EVENT_DAYS = 94
    monkeypatch.setattr(retention, "LOCK_SECONDS", "0.2")
    reading, done = threading.Event(), threading.Event()

    def read() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM usage_event")
            reading.set()
            done.wait(20)
        connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait(20)
    assert retention.drop_expired() == []
    done.set()
    reader.join()
    partitions.ensure_ahead()
    assert retention.drop_expired()
    assert ages() == [94, 2, 0]
