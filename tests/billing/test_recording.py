"""What a batch of events leaves in the books, whatever else is in the batch."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from django.db import connection

from billing import invariants, recording
from billing.events import Event, Rated
from billing.models import BillingPeriod, Lease, LedgerEntry, UsageEvent, UsageRollup
from portal.kit import clock, ids
from tests.billing.events import make_event
from tests.billing.shop import Shop, open_shop

pytestmark = pytest.mark.usefixtures("books")
# 12.34 % of these rounds down somewhere else for each.
CHARGES = [1, 7, 99, 10**6 + 1, 3, 8, 1, 123_456_789]


@pytest.fixture
def shop() -> Shop:
    return open_shop(components={"output_tokens": (0, 1, 1)})


def charged(event: Event, charge: int, *, already: int) -> Event:
    """The same call again, of so many output tokens at 1 micro-minor unit."""
    rated = (Rated("output_tokens", already, charge, charge),)
    units = {"requests": 1, "output_tokens": charge}
    return event._replace(id=ids.uuid7().hex, units=units, rated=rated, charge=charge)


def calls_of(shop: Shop) -> list[Event]:
    event = make_event(shop)
    return [charged(event, charge, already=sum(CHARGES[:number])) for number, charge in enumerate(CHARGES)]


def test_commission_is_rounded_once_however_calls_come_in_batches(shop: Shop) -> None:
    calls = calls_of(shop)
    BillingPeriod.objects.update(commission_basis_points=1234)
    for batch in (calls[:3], calls[1:4], calls[4:]):
        recording.record(batch, shard=0)
    period = BillingPeriod.objects.get()
    assert (period.gross, period.commission) == (sum(CHARGES), sum(CHARGES) * 1234 // 10_000)
    kept = [rollup.commission for rollup in UsageRollup.objects.all()]
    assert sum(kept) == period.commission
    assert sum(LedgerEntry.objects.values_list("amount", flat=True)) == 0
    assert invariants.check() == []


def test_each_listings_commission_is_of_its_own_charges() -> None:
    shops = [open_shop(components={"output_tokens": (0, 1, 1)}, slug=slug) for slug in ("one", "two")]
    first, second = map(calls_of, shops)
    recording.record([*first, *second[:4]], shard=0)
    of = {rollup.listing_id: (rollup.charge, rollup.commission) for rollup in UsageRollup.objects.all()}
    half = sum(CHARGES[:4])
    assert of[shops[0].listing.pk] == (sum(CHARGES), sum(CHARGES) // 10)
    assert of[shops[1].listing.pk] == (half, half // 10)


def test_gross_too_large_to_multiply_in_64_bits_is_split_exactly(shop: Shop) -> None:
    event = make_event(shop)
    huge = 2**53 - 1
    recording.record([charged(event, huge, already=0), charged(event, 1, already=huge)], shard=0)
    assert UsageRollup.objects.get().commission == 2**53 // 10 == BillingPeriod.objects.get().commission


def test_calls_of_two_hours_stand_in_two_rows_and_failed_ones_are_only_counted(shop: Shop) -> None:
    event = make_event(shop)
    late = datetime(2026, 3, 1, 10, 59, 59, 999_000, tzinfo=UTC)
    times = [int(late.timestamp() * 1000), int(late.timestamp() * 1000) + 1]
    answered = [event._replace(id=ids.uuid7().hex, finished_ms=at) for at in times]
    failed = event._replace(id=ids.uuid7().hex, finished_ms=times[1], outcome="failed")
    assert recording.record([*answered, failed], shard=3) == 3
    rows = UsageRollup.objects.order_by("hour").values_list(
        "hour__hour", "requests", "failed", "input_tokens"
    )
    assert list(rows) == [(10, 1, 0, 5), (11, 1, 1, 5)]


def test_a_batch_that_is_known_changes_nothing(shop: Shop) -> None:
    calls = calls_of(shop)
    assert recording.record(calls + calls[:2], shard=0) == len(calls)
    before = list(UsageRollup.objects.values())
    assert recording.record(calls, shard=1) == 0
    assert list(UsageRollup.objects.values()) == before
    assert LedgerEntry.objects.count() == 3


def test_a_lease_lost_while_its_calls_are_stored_costs_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes it holds the period, which a meter locks only once its calls are stored."""
    calls = calls_of(shop)
    lock, tries = recording._lock_periods, []

    def close_lease() -> None:
        Lease.objects.update(closed_at=clock.now())
        connection.close()

    def lock_after_a_loss(events: Sequence[Event]) -> dict[UUID, BillingPeriod]:
        tries.append(len(events))
        if len(tries) == 1:
            closer = threading.Thread(target=close_lease)
            closer.start()
            closer.join()
        return lock(events)

    monkeypatch.setattr(recording, "_lock_periods", lock_after_a_loss)
    assert recording.record(calls, shard=0) == len(calls)
    assert len(tries) == 2
    assert BillingPeriod.objects.get().gross == 0
    assert sum(UsageEvent.objects.values_list("charge", flat=True)) == 0
    assert sum(UsageRollup.objects.values_list("requests", flat=True)) == len(calls)
