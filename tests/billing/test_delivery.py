"""What is charged has been delivered, or is given back: exactly, once, and in every book."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async

from billing import budgets, invariants, metering
from billing.credit import delivery, keys, reaper
from billing.credit.admission import Admission
from billing.models import BillingPeriod, KeyDay, LedgerEntry, RatedLine, UsageEvent
from billing.reversals import reversal_of
from portal.kit import clock, redis
from tests.billing.shop import Caller, finish, make_key, open_shop

READER = "inference:reply:a-web-process"
LATER = clock.now().replace(year=2100)
COMPONENTS = {"output_tokens": (100, 2_000_000, 1_000), "input_tokens": (0, 1_500_001, 1_000)}


@pytest.fixture
async def caller(admission: Admission) -> Caller:
    shop = await sync_to_async(open_shop)(components=COMPONENTS)
    delivery_client = redis.client()
    await sync_to_async(delivery.renew)(delivery_client, READER)
    key = await sync_to_async(make_key)(shop, total_budget=10**10, budget_currency="USD")
    return Caller(admission, await sync_to_async(shop.facts)(key_id=key.pk))


async def charge(caller: Caller, **units: int) -> tuple[UUID, int]:
    """A call that a worker ended, and what it cost."""
    call, _ = await caller.admit(output_tokens=200, input_tokens=200)
    return call, finish(call, reply=READER, **units)[0]


def confirm(*calls: UUID) -> None:
    redis.client().execute_command(*delivery.confirmation(READER, [call.hex for call in calls]))


def die() -> None:
    """The reader is heard of no more, and the reaper has come by."""
    reaper.reap(LATER)


def record() -> None:
    metering.drain(through=b"+")
    assert invariants.check() == []


on_thread: Callable[..., Any] = sync_to_async


async def test_what_was_confirmed_stays_charged_and_what_was_not_is_given_back(caller: Caller) -> None:
    told, paid = await charge(caller, output_tokens=150, input_tokens=10)
    lost, cost = await charge(caller, output_tokens=60, input_tokens=7)
    confirm(told)
    assert await on_thread(die)() is None
    await on_thread(record)()
    events = {event.id: event async for event in UsageEvent.objects.all()}
    assert len(events) == 3
    back = events[reversal_of(lost)]
    assert (back.outcome, back.charge, back.output_tokens, back.requests) == ("reversed", -cost, -60, -1)
    assert (events[lost].outcome, events[lost].charge) == ("succeeded", cost)
    period = await BillingPeriod.objects.aget()
    assert period.gross == paid > 0
    assert sum([line.charge async for line in RatedLine.objects.all()]) == paid
    assert sum([entry.amount async for entry in LedgerEntry.objects.all()]) == 0
    assert (await KeyDay.objects.aget()).charge == paid
    assert redis.client().exists(keys.undelivered(READER)) == 0
    assert redis.client().zscore(keys.READERS, READER) is not None, "its deadline lies in the future"


async def test_included_units_of_an_undelivered_call_are_free_again(caller: Caller) -> None:
    """However the calls lie about the end of what is included, the period costs R of what was delivered."""
    lost, free = await charge(caller, output_tokens=90)
    told, paid = await charge(caller, output_tokens=80)
    confirm(told)
    assert free == 0 < paid
    await on_thread(die)()
    await on_thread(record)()
    assert (await BillingPeriod.objects.aget()).gross == 0, "80 of 100 included tokens were delivered"
    line = await RatedLine.objects.aget(meter="output_tokens")
    assert (line.units, line.charge) == (80, 0)
    again, cost = await charge(caller, output_tokens=20)
    assert cost == 0
    assert lost != again


async def test_a_call_without_a_reader_or_a_charge_leaves_nothing_to_confirm(caller: Caller) -> None:
    call, _ = await caller.admit(output_tokens=10)
    assert finish(call, reply="inference:reply:unknown", output_tokens=5)[1] == "succeeded"
    call, _ = await caller.admit(output_tokens=10)
    assert finish(call, "failed", reply=READER)[1] == "failed"
    assert redis.client().keys("undelivered:*") == []


async def test_a_reversal_outlives_the_lease_that_the_call_was_settled_under(caller: Caller) -> None:
    lost, cost = await charge(caller, output_tokens=190, input_tokens=3)
    redis.client().delete(keys.lease(caller.facts.period_id))
    await on_thread(die)()
    await on_thread(record)()
    assert (await UsageEvent.objects.aget(pk=reversal_of(lost))).charge == -cost < 0
    assert (await BillingPeriod.objects.aget()).gross == 0


async def test_a_reversal_that_redis_remembers_again_counts_once(caller: Caller) -> None:
    _, _ = await charge(caller, output_tokens=190)
    client = redis.client()
    before = client.hgetall(keys.undelivered(READER))
    await on_thread(die)()
    await on_thread(record)()
    client.hset(keys.undelivered(READER), mapping=before)
    await on_thread(die)()
    await on_thread(record)()
    assert await UsageEvent.objects.acount() == 2
    assert client.hget(keys.lease(caller.facts.period_id), "output_tokens:q") == b"0"
    assert client.exists(keys.undelivered(READER)) == 0


async def test_a_reader_that_lives_is_left_alone_and_one_that_is_long_gone_is_forgotten(
    caller: Caller,
) -> None:
    lost, _ = await charge(caller, output_tokens=190)
    assert await on_thread(reaper.reap)() == []
    assert redis.client().hexists(keys.undelivered(READER), lost.hex)
    just_late = int(clock.now().timestamp() * 1000) - 1
    redis.client().zadd(keys.READERS, {READER: just_late})
    await on_thread(reaper.reap)()
    assert not redis.client().hexists(keys.undelivered(READER), lost.hex)
    late, _ = await charge(caller, output_tokens=190)
    assert redis.client().hexists(keys.undelivered(READER), late.hex), "what comes meanwhile is noted too"
    redis.client().zadd(keys.READERS, {READER: 1})
    await on_thread(reaper.reap)()
    assert redis.client().zcard(keys.READERS) == 0


async def test_the_key_and_the_period_may_spend_again_what_was_given_back(caller: Caller) -> None:
    _, cost = await charge(caller, output_tokens=190)
    budget = keys.budget(caller.facts.budgets[0].lease_id)
    assert int(redis.client().hget(budget, "q")) == cost > 0
    await on_thread(die)()
    assert redis.client().hget(budget, "q") == b"0"
    assert redis.client().hget(keys.lease(caller.facts.period_id), "output_tokens:q") == b"0"
    await on_thread(record)()
    window = caller.facts.budgets[0].window
    assert await on_thread(budgets.spent)(caller.facts.key_id, window) == 0


async def test_a_note_that_cannot_be_read_keeps_no_other_from_being_reversed(
    caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    redis.client().hset(keys.undelivered(READER), "0" * 32, b"rubbish")
    lost, cost = await charge(caller, output_tokens=190)
    await on_thread(die)()
    await on_thread(record)()
    assert (await UsageEvent.objects.aget(pk=reversal_of(lost))).charge == -cost
    assert "cannot be reversed; the others are" in caplog.text


def test_reversals_are_ids_of_the_same_moment() -> None:
    call = UUID("01a2236b-1d8c-7368-a000-39484864087f")
    reversal = reversal_of(call)
    assert reversal == reversal_of(call) != call
    assert (reversal.int >> 80, reversal.version, reversal.variant) == (call.int >> 80, 7, call.variant)
