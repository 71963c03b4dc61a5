"""Limits and budgets of keys and organisations: what they let in, and what they say when they do not."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from billing import budgets, invariants, metering
from billing.credit import budget_leases
from billing.credit.admission import Admission
from billing.errors import (
    AllowanceExhausted,
    BudgetExhausted,
    BudgetInOtherCurrency,
    RateLimited,
    StaleFacts,
    WindowExhausted,
)
from billing.models import BudgetLease, KeyDay
from portal.accounts import key_limits
from portal.accounts.key_limits import KeyLimits
from portal.accounts.models import ApiKey, Membership, Organisation, Role
from portal.kit import clock, epochs, redis
from tests.billing.shop import Caller, Shop, finish, make_key, open_shop

TEN_A_TOKEN = {"output_tokens": (0, 10, 1)}


@sync_to_async
def opened(
    *,
    limits: dict[str, Any],
    components: Any = None,
    of_organisation: dict[str, Any] | None = None,
    **terms: Any,
) -> tuple[Shop, ApiKey]:
    shop = open_shop(components=TEN_A_TOKEN if components is None else components, **terms)
    Organisation.objects.filter(pk=shop.consumer.pk).update(**(of_organisation or {"kind": "company"}))
    shop.consumer.refresh_from_db()
    Membership.objects.create(organisation=shop.consumer, user=shop.subscription.created_by, role=Role.OWNER)
    return shop, make_key(shop, **limits)


async def spend_all(caller: Caller) -> int:
    """Tokens that the budget still pays for."""
    for tokens in range(1000):
        try:
            call, _ = await caller.admit(output_tokens=1)
        except BudgetExhausted:
            return tokens
        finish(call, output_tokens=1)
    raise AssertionError("the budget has no end")


@sync_to_async
def load(shop: Shop, key: ApiKey | None, **changes: Any) -> Any:
    return shop.facts(key_id=key and key.pk, **changes)


def drain() -> None:
    metering.join()
    metering.drain(through=b"+")


def counters(key: ApiKey) -> dict[str, tuple[int, int]]:
    """(settled, held) of the key's open budgets in Redis."""
    found = {}
    for lease in BudgetLease.objects.filter(api_key=key, closed_at=None):
        q, h = redis.client().hmget(f"budget:{lease.pk.hex}", "q", "h")
        found[lease.span] = (int(q), int(h))
    return found


async def test_a_budget_can_be_spent_to_the_last_unit_and_no_further(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 100})
    caller = Caller(admission, await load(shop, key))
    for _ in range(10):
        call, _answer = await caller.admit(output_tokens=1)
        finish(call, output_tokens=1)
    with pytest.raises(BudgetExhausted) as refused:
        await caller.admit(output_tokens=1)
    assert refused.value.code == "insufficient_quota"
    assert {name: refused.value.data[name] for name in ("window", "left", "needed")} == {
        "window": "total", "left": 0, "needed": 10,
    }  # fmt: skip
    assert "may cost up to 0.0000001 USD, and 0.00 USD are left of the key's budget of 0.000001 USD" in str(
        refused.value
    )
    assert f"PATCH /api/keys/{key.pk}/" in str(refused.value)
    await sync_to_async(drain)()
    assert await sync_to_async(invariants.check)() == []


async def test_fifty_at_once_under_two_subscriptions_spend_one_budget(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 100})
    second = await sync_to_async(open_shop)(components=TEN_A_TOKEN, consumer=shop.consumer)
    callers = [Caller(admission, await load(each, key)) for each in (shop, second)]
    calls = (caller.admit(output_tokens=1) for _ in range(25) for caller in callers)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(len(caller.admitted) for caller in callers) == 10
    assert {type(each) for each in answers if isinstance(each, BaseException)} == {BudgetExhausted}


async def test_a_call_that_loses_its_included_units_to_another_key_stays_within_what_it_holds(
    admission: Admission,
) -> None:
    shop, key = await opened(limits={"total_budget": 100}, components={"output_tokens": (10, 10, 1)})
    caller, other = Caller(admission, await load(shop, key)), Caller(admission, await load(shop, None))
    first, _ = await caller.admit(output_tokens=10)
    later, _ = await other.admit(output_tokens=10)
    assert await sync_to_async(counters)(key) == {"total": (0, 100)}
    assert finish(later, output_tokens=10) == (0, "succeeded")
    assert finish(first, output_tokens=10) == (100, "succeeded")
    assert await sync_to_async(counters)(key) == {"total": (100, 0)}


async def test_calls_that_can_cost_nothing_pass_an_empty_budget(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 0}, components={"requests": (5, None, 1)})
    await Caller(admission, await load(shop, key)).admit(output_tokens=100)


async def test_a_refusal_at_any_scope_consumes_nothing_at_the_others(admission: Admission) -> None:
    shop, key = await opened(
        limits={"requests_per_minute": 5, "tokens_per_minute": 1000, "total_budget": 100},
        of_organisation={"requests_per_minute": 7, "tokens_per_minute": 50},
        requests_per_minute=9,
    )
    caller = Caller(admission, await load(shop, key))
    call, _ = await caller.admit(output_tokens=2)
    for worst, refusal in ((60, RateLimited), (20, BudgetExhausted)):
        for _ in range(3):
            with pytest.raises(refusal):
                await caller.admit(output_tokens=worst)
    finish(call, output_tokens=2)
    levels = {
        holder: redis.client().hget(f"bucket:{holder.hex}", "requests")
        for holder in (key.pk, shop.consumer.pk, shop.subscription.pk)
    }
    assert [int(level) // 60_000 for level in levels.values()] == [4, 6, 8]
    assert await sync_to_async(counters)(key) == {"total": (20, 0)}


@pytest.mark.parametrize("holder", ["key", "organisation", "subscription"])
@pytest.mark.parametrize(
    ("limit", "scope"),
    [
        ("requests_per_minute", "requests per minute"), ("tokens_per_minute", "tokens per minute"),
        ("concurrent_requests", "concurrent requests"),
    ],
)  # fmt: skip
async def test_every_holder_limits_its_own_calls_and_is_named(
    admission: Admission, holder: str, limit: str, scope: str
) -> None:
    terms = {limit: 2}
    shop, key = await opened(
        limits=terms if holder == "key" else {},
        of_organisation=terms if holder == "organisation" else None,
        **(terms if holder == "subscription" else {}),
    )
    caller = Caller(admission, await load(shop, key))
    for _ in range(2):
        await caller.admit(output_tokens=1)
    with pytest.raises(RateLimited) as refused:
        await caller.admit(output_tokens=1)
    assert (refused.value.data["what"], refused.value.data["scope"]) == (holder, scope)
    assert (refused.value.data["limit"], refused.value.data["remaining"]) == (2, 0)
    assert refused.value.data["retry_after"] > 0
    elsewhere = await sync_to_async(open_shop)(components=TEN_A_TOKEN, consumer=shop.consumer)
    if holder == "subscription":
        await Caller(admission, await load(elsewhere, key)).admit(output_tokens=1)
    else:
        with pytest.raises(RateLimited):
            await Caller(admission, await load(elsewhere, key)).admit(output_tokens=1)
    if holder == "key":
        await Caller(admission, await load(shop, None)).admit(output_tokens=1)


async def test_unused_tokens_come_back_at_every_scope(admission: Admission) -> None:
    shop, key = await opened(
        limits={"tokens_per_minute": 1000}, of_organisation={"tokens_per_minute": 900}, tokens_per_minute=800
    )
    caller = Caller(admission, await load(shop, key))
    call, answer = await caller.admit(output_tokens=600)
    assert answer.tokens is not None
    assert (answer.tokens.limit, answer.tokens.remaining) == (800, 200)
    finish(call, output_tokens=100)
    holders = (key.pk, shop.consumer.pk, shop.subscription.pk)
    levels = [int(redis.client().hget(f"bucket:{each.hex}", "tokens")) // 60_000 for each in holders]
    assert levels == [900, 800, 700]


async def test_budgets_begin_anew_with_their_day_and_month(admission: Admission) -> None:
    shop, key = await opened(limits={"daily_budget": 20, "monthly_budget": 30})
    today = await load(shop, key)
    caller = Caller(admission, today)
    call, _ = await caller.admit(output_tokens=2)
    finish(call, output_tokens=2)
    with pytest.raises(WindowExhausted) as refused:
        await caller.admit(output_tokens=1)
    ends = datetime.combine(clock.now().date() + timedelta(days=1), datetime.min.time(), tzinfo=UTC)
    assert refused.value.data["resets_at"] == ends.timestamp()
    assert refused.value.data["retry_after"] == pytest.approx((ends - clock.now()).total_seconds(), abs=30)
    with pytest.raises(WindowExhausted) as refused:
        await caller.admit(output_tokens=4)
    assert refused.value.data["window"] == "month"


def test_a_window_is_a_function_of_time() -> None:
    key = ApiKey(daily_budget=1, monthly_budget=2, total_budget=3)
    at = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)
    day, month, total = budgets.windows(key, at)
    assert (day.first_day, day.end_day) == (date(2027, 1, 31), date(2027, 2, 1))
    assert (month.first_day, month.end_day) == (date(2027, 1, 1), date(2027, 2, 1))
    assert (total.first_day, total.ends) == (budgets.ALL_TIME, None)
    later = budgets.windows(key, at + timedelta(seconds=1))
    assert [each.first_day for each in later[:2]] == [date(2027, 2, 1)] * 2


async def test_a_call_counts_in_the_day_that_admitted_it_though_it_ends_in_the_next(
    admission: Admission,
) -> None:
    shop, key = await opened(limits={"daily_budget": 100, "total_budget": 1000})
    # Seen from tomorrow, today's lease is yesterday's.
    tomorrow = clock.now() + timedelta(days=1)
    caller = Caller(admission, await load(shop, key))
    call, _ = await caller.admit(output_tokens=10)
    caller.facts = await load(shop, key, at=tomorrow)
    await caller.admit(output_tokens=10)
    assert finish(call, output_tokens=7)[0] == 70
    finish(caller.admitted[1], output_tokens=3)
    await sync_to_async(drain)()
    days = await sync_to_async(lambda: dict(KeyDay.objects.values_list("day", "charge")))()
    assert days == {clock.now().date(): 70, tomorrow.date(): 30}


async def test_a_window_that_is_over_admits_nothing(admission: Admission) -> None:
    shop, key = await opened(limits={"daily_budget": 100})
    facts = await load(shop, key)
    (budget,) = facts.budgets
    over = replace(budget, window=replace(budget.window, end_day=clock.now().date()))
    with pytest.raises(StaleFacts):
        await Caller(admission, replace(facts, budgets=(over,))).admit(output_tokens=1)
    await Caller(admission, facts).admit(output_tokens=1)


async def test_changed_limits_hold_in_the_next_call(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 50})
    watched = ((epochs.name("key", key.pk), 0),)
    caller = Caller(admission, await load(shop, key, epochs=watched))
    call, _ = await caller.admit(output_tokens=5)
    finish(call, output_tokens=5)

    async def change(**limits: Any) -> None:
        by = shop.subscription.created_by
        await sync_to_async(key_limits.change)(
            shop.consumer, by=by, key_id=key.pk, limits=KeyLimits(**limits)
        )
        with pytest.raises(StaleFacts):
            await caller.admit(output_tokens=1)
        now = tuple((name, epochs.read([name])[0]) for name, _ in watched)
        caller.facts = await load(shop, key, epochs=now)

    await change(total_budget=80)
    await caller.admit(output_tokens=3)
    await change(total_budget=60)
    with pytest.raises(BudgetExhausted):
        await caller.admit(output_tokens=1)
    await change(requests_per_minute=1)
    await caller.admit(output_tokens=100)
    with pytest.raises(RateLimited):
        await caller.admit(output_tokens=1)


async def test_a_budget_set_later_counts_what_the_key_has_spent_already(admission: Admission) -> None:
    shop, key = await opened(limits={})
    caller = Caller(admission, await load(shop, key))
    call, _ = await caller.admit(output_tokens=7)
    finish(call, output_tokens=7)
    await sync_to_async(ApiKey.objects.update)(monthly_budget=100)
    caller.facts = await load(shop, key)
    with pytest.raises(BudgetExhausted):
        await caller.admit(output_tokens=4)
    await caller.admit(output_tokens=3)


async def test_a_budget_that_was_away_has_seen_what_was_spent_meanwhile(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 100})
    caller = Caller(admission, await load(shop, key))
    for budget in (None, 100):
        call, _ = await caller.admit(output_tokens=4)
        finish(call, output_tokens=4)
        await sync_to_async(ApiKey.objects.update)(total_budget=budget)
        caller.facts = await load(shop, key)
    assert await sync_to_async(counters)(key) == {"total": (80, 0)}


async def test_a_plan_in_another_currency_is_refused_by_name(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 10**9, "budget_currency": "EUR"})
    with pytest.raises(BudgetInOtherCurrency) as refused:
        await load(shop, key)
    assert (refused.value.data["budget_currency"], refused.value.data["plan_currency"]) == ("EUR", "USD")
    await load(shop, None)


async def test_the_spend_cap_and_the_budget_bind_independently(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 10**9}, spend_cap=50)
    with pytest.raises(AllowanceExhausted):
        await Caller(admission, await load(shop, key)).admit(output_tokens=6)


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_an_emptied_redis_spends_no_more_of_a_budget(admission: Admission, is_recorded: bool) -> None:
    shop, key = await opened(limits={"total_budget": 200})
    caller = Caller(admission, await load(shop, key))
    for _ in range(7):
        call, _answer = await caller.admit(output_tokens=1)
        finish(call, output_tokens=1)
    if is_recorded:
        await sync_to_async(drain)()
    redis.client().flushdb()
    caller.facts = await load(shop, key)
    # A sixteenth of what was left may have been spent without a trace.
    assert 11 <= await spend_all(caller) <= 13
    await sync_to_async(drain)()
    assert await sync_to_async(invariants.check)() == []


async def test_an_unused_budget_is_returned_and_forfeits_nothing(admission: Admission) -> None:
    shop, key = await opened(limits={"total_budget": 200})
    caller = Caller(admission, await load(shop, key))
    call, _ = await caller.admit(output_tokens=1)
    back = sync_to_async(budget_leases.return_unused)
    assert await back(since=clock.now() + timedelta(seconds=1)) == 0
    finish(call, output_tokens=1)
    assert await back(since=clock.now() - timedelta(minutes=1)) == 0
    assert await back(since=clock.now() + timedelta(seconds=1)) == 1
    redis.client().flushdb()
    caller.facts = await load(shop, key)
    assert await sync_to_async(counters)(key) == {"total": (10, 0)}
    for _ in range(19):
        await caller.admit(output_tokens=1)
