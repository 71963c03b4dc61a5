"""From the usage stream to the books: once, whole, and the same sum everywhere."""

import threading

from asgiref.sync import sync_to_async
from django.db import connection

from billing import earnings, invariants, invoicing, metering, usage
from billing.credit.admission import Admission
from billing.models import BillingPeriod, LedgerEntry, RatedLine, UsageEvent, UsageRollup
from portal.kit import clock, redis
from tests.billing.shop import Caller, Shop, finish, open_shop

PRICES = {"input_tokens": (10, 15, 7), "output_tokens": (100, 61, 13), "requests": (0, 1000, 1)}


def meter() -> int:
    """Record all that is on the stream, as a meter does."""
    metering.join()
    return metering.record(metering.take("test", count=5000, block_ms=1), shard=0)


async def use(admission: Admission, calls: int, **terms: object) -> Shop:
    shop = await sync_to_async(open_shop)(components=PRICES, **terms)
    caller = Caller(admission, await sync_to_async(shop.facts)())
    for number in range(calls):
        call, _ = await caller.admit(input_tokens=50, output_tokens=50)
        outcome = ("succeeded", "cancelled", "failed")[number % 3]
        finish(call, outcome, input_tokens=number, output_tokens=2 * number + 1, cached_tokens=3)
    return shop


async def test_every_sum_agrees_to_the_micro_unit(admission: Admission) -> None:
    shop = await use(admission, 21)
    await sync_to_async(check_sums)(shop)


def check_sums(shop: Shop) -> None:
    assert meter() == 21
    assert invariants.check() == []
    charged = sum(event.charge for event in UsageEvent.objects.all())
    period = BillingPeriod.objects.get()
    now = clock.now()
    hour_ago = now.replace(minute=0, second=0, microsecond=0)
    draft = invoicing.draft(shop.consumer, now)
    totals = usage.totals(shop.consumer, hour_ago, now)
    earned = earnings.summary(shop.provider, hour_ago, now)
    assert (
        charged == period.gross == draft.total.amount == totals.charge.amount == earned.total.gross.amount > 0
    )
    assert earned.balance == earned.total.net == earned.total.gross - earned.total.commission
    assert earned.total.commission.amount == charged * 1000 // 10_000
    rebuilt = invoicing.rebuild(period)
    for line in draft.sections[0].lines:
        assert (line.quantity, line.amount.amount) == (rebuilt[line.meter].units, rebuilt[line.meter].charge)
    assert totals.requests == 14
    assert totals.failed == 7
    answered = [number for number in range(21) if number % 3 < 2]
    assert totals.input_tokens == sum(answered) == rebuilt["input_tokens"].units
    assert totals.output_tokens == sum(2 * number + 1 for number in answered)
    assert totals.cached_tokens == 3 * 14


async def test_duplicates_on_the_stream_count_once(admission: Admission) -> None:
    await use(admission, 6)
    entries = redis.client().xrange("usage")
    for _, fields in entries * 2:
        redis.client().xadd("usage", fields)

    def record() -> None:
        assert meter() == 6
        for _, fields in entries:
            redis.client().xadd("usage", fields)
        assert meter() == 0
        assert UsageEvent.objects.count() == 6
        assert sum(UsageRollup.objects.values_list("requests", flat=True)) == 4
        assert invariants.check() == []
        assert redis.client().xlen("usage") == 0

    await sync_to_async(record)()


async def test_a_failed_commit_leaves_everything_on_the_stream(admission: Admission) -> None:
    await use(admission, 3)

    def fail_then_record() -> None:
        metering.join()
        entries = metering.take("dies", count=100, block_ms=1)
        assert len(entries) == 3
        assert not UsageEvent.objects.exists()
        assert metering.claim("heir", idle_ms=0, count=100) == list(entries)
        metering.record(entries, shard=1)
        assert UsageEvent.objects.count() == 3
        assert metering.claim("other", idle_ms=0, count=100) == []

    await sync_to_async(fail_then_record)()


async def test_an_unreadable_entry_is_set_aside_and_stops_nobody(admission: Admission) -> None:
    await use(admission, 1)
    redis.client().xadd("usage", {"i": "nonsense"})
    assert await sync_to_async(meter)() == 1
    assert redis.client().xlen("usage") == 0
    assert redis.client().xlen(metering.REJECTED_STREAM) == 1


async def test_parallel_meters_share_a_hot_subscription(admission: Admission) -> None:
    await use(admission, 40)

    def record() -> None:
        metering.join()

        def drain(name: str, shard: int) -> None:
            while entries := metering.take(name, count=3, block_ms=1):
                metering.record(entries, shard=shard)
            connection.close()

        threads = [threading.Thread(target=drain, args=(f"m{shard}", shard)) for shard in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert UsageEvent.objects.count() == 40
        assert RatedLine.objects.get(meter="requests").units == 27
        assert LedgerEntry.objects.count() > 3
        assert invariants.check() == []

    await sync_to_async(record)()


async def test_a_leaving_meter_never_takes_entries_with_it(admission: Admission) -> None:
    await use(admission, 3)

    def leave_and_sweep() -> None:
        metering.join()
        assert len(metering.take("leaves", count=100, block_ms=1)) == 3
        metering.leave("leaves")
        assert len(metering.claim("heir", idle_ms=0, count=100)) == 3
        redis.client().xgroup_delconsumer("usage", metering.GROUP, "heir")
        assert metering.claim("other", idle_ms=0, count=100) == []
        assert metering.sweep(older_ms=-1000) == 3
        metering.forget_dead(idle_ms=-1)
        assert redis.client().xinfo_consumers("usage", metering.GROUP) == []

    await sync_to_async(leave_and_sweep)()
