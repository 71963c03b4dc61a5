"""What admission lets in, what it refuses, and that refusals consume nothing."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async

from billing.credit import reaper, settlement
from billing.credit.admission import Admission
from billing.errors import AllowanceExhausted, RateLimited, StaleFacts
from marketplace import subscribing
from marketplace.models import Listing, Plan, Subscription
from portal.accounts.models import Membership, Role
from portal.kit import clock, ids, redis
from tests.billing.shop import Caller, Shop, finish, new_admission, open_shop


async def opened(admission: Admission, **terms: object) -> Caller:
    shop = await sync_to_async(open_shop)(**terms)
    return Caller(admission, await sync_to_async(shop.facts)())


async def test_charge_follows_the_position_in_the_period(admission: Admission) -> None:
    caller = await opened(admission, components={"output_tokens": (100, 60, 1000)})
    first, _ = await caller.admit(output_tokens=150)
    second, _ = await caller.admit(output_tokens=150)
    assert finish(second, output_tokens=90) == (0, "succeeded")
    assert finish(first, output_tokens=150) == (140 * 60 // 1000, "succeeded")


async def test_fifty_at_once_against_an_allowance_for_ten_admit_ten(admission: Admission) -> None:
    caller = await opened(admission, components={"requests": (10, None, 1)})
    answers = await asyncio.gather(*(caller.admit() for _ in range(50)), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(caller.admitted) == 10
    assert {type(refusal) for refusal in refusals} == {AllowanceExhausted}


async def test_a_burst_through_two_web_processes_admits_ten(admission: Admission) -> None:
    shop = await sync_to_async(open_shop)(components={"output_tokens": (0, 10, 1)}, spend_cap=1000)
    second, client = new_admission()
    callers = [Caller(door, await sync_to_async(shop.facts)()) for door in (admission, second)]
    calls = (caller.admit(output_tokens=10) for _ in range(25) for caller in callers)
    await asyncio.gather(*calls, return_exceptions=True)
    assert sum(len(caller.admitted) for caller in callers) == 10
    second.close()
    await client.aclose()


async def test_what_is_released_can_be_spent_by_others(admission: Admission) -> None:
    caller = await opened(admission, components={"requests": (1, None, 1)})
    call, _ = await caller.admit()
    with pytest.raises(AllowanceExhausted):
        await caller.admit()
    finish(call, "failed")
    call, _ = await caller.admit()
    finish(call, output_tokens=1)
    with pytest.raises(AllowanceExhausted) as refused:
        await caller.admit()
    assert refused.value.data["meter"] == "requests"
    assert (refused.value.data["left"], refused.value.data["needed"]) == (0, 1)


async def test_the_spend_cap_holds_to_the_last_unit(admission: Admission) -> None:
    caller = await opened(admission, components={"output_tokens": (0, 100, 1)}, spend_cap=1000)
    call, _ = await caller.admit(output_tokens=7)
    with pytest.raises(AllowanceExhausted) as refused:
        await caller.admit(output_tokens=4)
    assert (refused.value.data["left"], refused.value.data["needed"]) == (300, 400)
    await caller.admit(output_tokens=3)
    assert finish(call, output_tokens=7) == (700, "succeeded")


async def test_a_repeated_request_is_held_once(admission: Admission) -> None:
    caller = await opened(admission, components={"requests": (1, None, 1)})
    request = ids.uuid7()
    await caller.admit(request)
    await caller.admit(request)
    assert finish(request, output_tokens=1) == (0, "succeeded")


async def test_finishing_twice_counts_once(admission: Admission) -> None:
    caller = await opened(admission, components={"output_tokens": (0, 5, 1)})
    call, _ = await caller.admit(output_tokens=10)
    assert finish(call, reply="reply", output_tokens=4) == (20, "succeeded")
    assert finish(call, reply="reply", output_tokens=4) == (0, "gone")
    answers = [fields[b"o"] for _, fields in redis.client().xrange("reply")]
    assert answers == [b"succeeded", b"gone"]
    assert redis.client().xlen("usage") == 1


@pytest.mark.parametrize("outcome", ["failed", "succeeded", "cancelled"])
async def test_a_call_without_an_answer_costs_nothing(admission: Admission, outcome: str) -> None:
    caller = await opened(admission, components={"input_tokens": (0, 5, 1)})
    call, _ = await caller.admit(input_tokens=10, output_tokens=10)
    units = {"input_tokens": 10, "output_tokens": 3 if outcome == "failed" else 0}
    assert finish(call, outcome, **units)[0] == 0


async def test_a_changed_epoch_stops_the_next_call(admission: Admission) -> None:
    shop = await sync_to_async(open_shop)()
    facts = await sync_to_async(shop.facts)()
    caller = Caller(admission, replace(facts, epochs=(("epoch:key:1", 0),)))
    await caller.admit()
    redis.client().incr("epoch:key:1")
    with pytest.raises(StaleFacts):
        await caller.admit()


async def test_requests_per_minute_refuse_without_consuming(admission: Admission) -> None:
    caller = await opened(admission, requests_per_minute=2)
    _, first = await caller.admit()
    assert first.requests is not None
    assert (first.requests.limit, first.requests.remaining) == (2, 1)
    await caller.admit()
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            await caller.admit()
    assert refused.value.data["scope"] == "requests per minute"
    assert 25 < refused.value.data["retry_after"] <= 30


async def test_tokens_not_used_go_back_into_the_bucket(admission: Admission) -> None:
    caller = await opened(admission, tokens_per_minute=1000)
    call, answer = await caller.admit(input_tokens=100, output_tokens=800)
    assert answer.tokens is not None
    assert answer.tokens.remaining == 100
    with pytest.raises(RateLimited):
        await caller.admit(input_tokens=100, output_tokens=200)
    finish(call, input_tokens=100, output_tokens=50)
    _, answer = await caller.admit(input_tokens=100, output_tokens=200)
    assert answer.tokens is not None
    assert 550 <= answer.tokens.remaining <= 570


async def test_concurrency_is_live_holds_and_never_leaks(admission: Admission) -> None:
    caller = await opened(admission, concurrent_requests=2)
    first, _ = await caller.admit()
    await caller.admit()
    with pytest.raises(RateLimited) as refused:
        await caller.admit()
    assert refused.value.data["scope"] == "concurrent requests"
    finish(first, "cancelled")
    await caller.admit()


async def test_a_period_that_is_over_admits_nothing(admission: Admission) -> None:
    caller = await opened(admission)
    caller.facts = replace(caller.facts, period_ends=clock.now().timestamp() - 0.001)
    with pytest.raises(StaleFacts):
        await caller.admit()


async def test_a_call_that_nobody_renews_is_reaped_free_and_its_worker_told(admission: Admission) -> None:
    caller = await opened(admission, components={"requests": (1, None, 1)}, concurrent_requests=1)
    call, _ = await caller.admit()
    settlement.attach_control(redis.client(), request_id=call, stream="control")
    assert await admission.renew([call], 60) == []
    assert await asyncio.to_thread(reaper.reap, clock.now() + timedelta(seconds=59)) == []
    assert await asyncio.to_thread(reaper.reap, clock.now() + timedelta(seconds=61)) == [call]
    assert await admission.renew([call], 60) == [call]
    ((_, told),) = redis.client().xrange("control")
    assert told == {b"cancel": call.hex.encode()}
    assert finish(call, output_tokens=1) == (0, "gone")
    await caller.admit()


async def test_more_than_was_held_is_never_charged(admission: Admission) -> None:
    caller = await opened(admission, components={"output_tokens": (0, 5, 1), "images": (0, 9, 1)})
    call, _ = await caller.admit(output_tokens=10)
    assert finish(call, output_tokens=1000, images=4) == (50, "succeeded")


async def test_a_pipeline_finishes_many_at_once(admission: Admission) -> None:
    caller = await opened(admission, components={"output_tokens": (0, 5, 1)})
    calls = [(await caller.admit(output_tokens=10))[0] for _ in range(3)]
    pipeline = redis.client().pipeline(transaction=False)
    for call in calls:
        settlement.finish(
            pipeline, request_id=call, outcome="succeeded", quantities={"output_tokens": 2}, reply="reply",
            final=b"final", facts_extra={},
        )  # fmt: skip
    assert pipeline.execute() == [[10, b"succeeded"]] * 3


async def test_a_call_that_ended_before_it_began_costs_nothing(admission: Admission) -> None:
    caller = await opened(admission, components={"requests": (0, 100, 1)})
    call, _ = await caller.admit()
    assert finish(call, "cancelled") == (0, "cancelled")


def begin_again(shop: Shop) -> Subscription:
    """Cancel the shop's subscription and take the same plan once more."""
    buyer = shop.subscription.created_by
    Membership.objects.create(organisation=shop.consumer, user=buyer, role=Role.OWNER)
    Listing.objects.filter(pk=shop.listing.pk).update(current_version=shop.version, published_at=clock.now())
    subscribing.cancel(shop.subscription, by=buyer)
    plan = Plan.objects.get(pk=shop.plan_version.plan_id)
    return subscribing.subscribe(shop.consumer, plan, by=buyer, spend_cap=10**12)


async def test_cancelling_and_beginning_again_renews_no_allowance(admission: Admission) -> None:
    shop = await sync_to_async(open_shop)(components={"requests": (1, None, 1)})
    caller = Caller(admission, await sync_to_async(shop.facts)())
    call, _ = await caller.admit()
    finish(call, output_tokens=1, requests=1)
    again = replace(shop, subscription=await sync_to_async(begin_again)(shop))
    caller = Caller(admission, await sync_to_async(again.facts)())
    with pytest.raises(AllowanceExhausted):
        await caller.admit()
