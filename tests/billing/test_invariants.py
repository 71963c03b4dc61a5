"""Invariants of metering and money, one test each; `tests/invariants.py` says what each answers."""

import asyncio
import itertools
import random
import threading
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import invariants, ledger, metering, rating, recording
from billing.errors import AllowanceExhausted
from billing.models import BillingPeriod, LedgerEntry, RatedLine, UsageEvent, UsageRollup
from billing.rating import Price
from portal.kit import redis
from tests.billing.shop import Caller, Shop, finish, new_admission, open_shop

PRICES = {"input_tokens": (10, 15, 7), "output_tokens": (100, 61, 13), "requests": (0, 1000, 1)}
SLOW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
Entries = list[tuple[bytes, dict[bytes, bytes]]]


def use(shop: Shop, calls: int) -> Entries:
    """Entries of so many ended calls, taken off the stream."""

    async def run() -> None:
        admission, client = new_admission()
        caller = Caller(admission, await asyncio.to_thread(_facts, shop))
        for number in range(calls):
            call, _ = await caller.admit(input_tokens=50, output_tokens=50)
            finish(call, input_tokens=number % 50, output_tokens=1 + number % 49)
        admission.close()
        await client.aclose()

    asyncio.run(run())
    entries: Any = redis.client().xrange("usage")
    redis.client().xtrim("usage", maxlen=0, approximate=False)
    return list(entries)


def _facts(shop: Shop) -> Any:
    try:
        return shop.facts()
    finally:
        connection.close()


def charge_of(entries: Entries) -> int:
    return sum(int(fields[b"c"]) for _, fields in entries)


@SLOW
@given(data=st.data())
def test_an_event_counts_once_for_ever_in_any_order_and_grouping(books: None, data: st.DataObject) -> None:
    """Shuffled, repeated and cut into batches at will, events have the totals of their set."""
    shop = open_shop(components=PRICES)
    entries = use(shop, 8)
    replayed = entries + data.draw(st.lists(st.sampled_from(entries), max_size=12))
    shuffled = data.draw(st.permutations(replayed))
    new = 0
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        batch, shuffled = shuffled[:size], shuffled[size:]
        new += metering.record(batch, shard=data.draw(st.integers(0, 3)))
    period = BillingPeriod.objects.get(subscription=shop.subscription)
    assert new == UsageEvent.objects.filter(subscription=shop.subscription).count() == 8
    assert period.gross == charge_of(entries) == sum(line.charge for line in period.lines.all())
    assert (
        sum(UsageRollup.objects.filter(subscription=shop.subscription).values_list("requests", flat=True))
        == 8
    )
    assert invariants.check() == []


def test_a_known_event_is_no_error_and_its_batch_is_recorded(books: None) -> None:
    entries = use(open_shop(components=PRICES), 6)
    assert metering.record(entries[:3], shard=0) == 3
    assert metering.record(entries[1:5], shard=0) == 2
    assert metering.record(entries, shard=1) == 1
    assert metering.record(entries, shard=0) == 0


def test_usage_leaves_the_stream_only_after_its_commit(books: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits that fail at random lose nothing: in the end everything is recorded, once."""
    shop = open_shop(components=PRICES)
    entries = use(shop, 30)
    for _, fields in entries:
        redis.client().xadd("usage", fields)
    metering.join()
    chance, post = random.Random(7), ledger.post_new
    failures = itertools.count()

    def post_or_fail(postings: Any) -> None:
        post(postings)
        if chance.random() < 0.6:
            next(failures)
            raise ConnectionError("the database went away before the commit")

    monkeypatch.setattr(recording.ledger, "post_new", post_or_fail)
    while redis.client().xlen("usage"):
        for taken in (metering.take("one", count=4, block_ms=1), metering.claim("one", idle_ms=0, count=4)):
            try:
                metering.record(taken, shard=0)
            except ConnectionError:
                continue
    assert next(failures) > 3
    assert UsageEvent.objects.count() == 30
    assert BillingPeriod.objects.get().gross == charge_of(entries)
    assert invariants.check() == []


def test_eight_meters_in_shuffled_order_lose_nothing_and_never_deadlock(books: None) -> None:
    shops = [open_shop(components=PRICES) for _ in range(6)]
    entries = [entry for shop in shops for entry in use(shop, 20)]
    errors: list[BaseException] = []

    def write(shard: int) -> None:
        mine = entries[:]
        random.Random(shard).shuffle(mine)
        try:
            for start in range(0, len(mine), 15):
                metering.record(mine[start : start + 15], shard=shard)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    writers = [threading.Thread(target=write, args=(shard,)) for shard in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    assert UsageEvent.objects.count() == len(entries) == 120
    assert sum(BillingPeriod.objects.values_list("gross", flat=True)) == charge_of(entries)
    assert RatedLine.objects.filter(meter="requests", units=20).count() == 6
    assert invariants.check() == []


@SLOW
@given(
    units=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=25),
    included=st.integers(0, 200), amount=st.integers(1, 10**9), per=st.integers(1, 1000),
)  # fmt: skip
def test_quota_and_charge_are_disjoint_and_their_sum_is_the_usage(
    units: list[tuple[int, int]], included: int, amount: int, per: int
) -> None:
    """Whatever the order of the calls: what the quota covers costs nothing, and only the rest is priced."""
    price, used, free, charged = Price(included, amount, per), 0, 0, 0
    for first, second in units:
        for more in (first, second):
            covered = max(0, min(included - used, more))
            cost = rating.charge(price, already=used, more=more)
            if covered == more:
                assert cost == 0
            free, charged, used = free + covered, charged + cost, used + more
    assert free == min(used, included)
    assert charged == (used - free) * amount // per


def test_what_is_left_and_what_is_used_make_the_allowance(books: None, clean_redis: None) -> None:
    """After every call, however it ended: a failure creates nothing, and nothing vanishes."""
    shop = open_shop(components={"requests": (25, None, 1), "output_tokens": (0, 10, 1)})

    async def run() -> list[int]:
        admission, client = new_admission()
        caller = Caller(admission, await asyncio.to_thread(_facts, shop))
        left = [await left_for(caller)]
        for how in itertools.cycle(("succeeded", "failed", "cancelled")):
            if not left[-1]:
                break
            call, _ = await caller.admit(output_tokens=3)
            finish(call, how, output_tokens=2)
            left.append(await left_for(caller))
        admission.close()
        await client.aclose()
        return left

    left = asyncio.run(run())
    spent = [before - after for before, after in itertools.pairwise(left)]
    assert left[0] == 25 == sum(spent)
    assert spent == list(itertools.islice(itertools.cycle((1, 0, 1)), len(spent)))
    metering.join()
    metering.drain(through=b"+")
    assert BillingPeriod.objects.get().gross == 25 * 2 * 10
    assert invariants.check() == []


async def left_for(caller: Caller) -> int:
    """The requests that remain, as the refusal of a call for more than all of them says."""
    with pytest.raises(AllowanceExhausted) as refused:
        await caller.admit(requests=26)
    left: int = refused.value.data["left"]
    return left


def test_a_money_write_has_a_key_and_happens_once(books: None) -> None:
    """The same batch of usage posted again, from anywhere, moves no more money."""
    entries = use(open_shop(components=PRICES), 5)
    metering.record(entries, shard=0)
    before = list(LedgerEntry.objects.order_by("pk").values_list("account_id", "amount"))
    for shard in range(3):
        metering.record(entries, shard=shard)
    assert list(LedgerEntry.objects.order_by("pk").values_list("account_id", "amount")) == before
