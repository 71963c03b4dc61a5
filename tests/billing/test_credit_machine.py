"""Admission, settlement, reaping, metering and losses in any order, against a plain model."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from billing import invariants, metering, rating
from billing.credit import leases, limits, reaper
from billing.errors import AllowanceExhausted, RateLimited, StaleFacts
from billing.models import BillingPeriod, UsageEvent
from billing.rating import Price
from portal.kit import clock, ids, redis
from tests.billing.shop import Caller, finish, new_admission, open_shop

Result = TypeVar("Result")
PRICES = {"input_tokens": Price(10, 7, 3), "output_tokens": Price(0, 11, 1), "requests": Price(12, None)}
SPEND_CAP = 900
CONCURRENCY = 4
UNITS = st.integers(0, 30)


@dataclass
class Held:
    """A live call of the model."""

    id: UUID
    worst: dict[str, int]


class Credit(RuleBasedStateMachine):
    """The model: units settled, calls held. Charges are R of the settled units."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        redis.client().flushdb()
        self.loop = asyncio.new_event_loop()
        self.admission, self.client = new_admission()
        components = {meter: (price.included, price.amount, price.per) for meter, price in PRICES.items()}
        self.shop = open_shop(components=components, spend_cap=SPEND_CAP, concurrent_requests=CONCURRENCY)
        self.caller = Caller(self.admission, self.shop.facts())
        self.settled = dict.fromkeys(PRICES, 0)
        self.served = dict.fromkeys(PRICES, 0)
        self.held: dict[UUID, Held] = {}
        self.charged = self.ended = 0
        self.allowed = {"charge": SPEND_CAP, "requests": 12}

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(coroutine)

    def fits(self, worst: dict[str, int]) -> bool:
        then = {
            meter: self.settled[meter] + sum(call.worst[meter] for call in self.held.values()) + worst[meter]
            for meter in PRICES
        }
        return then["requests"] <= self.allowed["requests"] and charge(then) <= self.allowed["charge"]

    @rule(target=calls, inputs=UNITS, outputs=UNITS)
    def admit(self, inputs: int, outputs: int) -> Any:
        worst = {"input_tokens": inputs, "output_tokens": outputs, "requests": 1}
        request = ids.uuid7()
        refusal: type[Exception] | None = None
        try:
            self.wait(self.caller.admit(request, **worst))
        except (AllowanceExhausted, RateLimited) as error:
            refusal = type(error)
        if len(self.held) == CONCURRENCY:
            assert refusal is RateLimited
        else:
            assert refusal is (None if self.fits(worst) else AllowanceExhausted)
        if refusal:
            return multiple()
        self.held[request] = Held(request, worst)
        return request

    @rule(call=calls)
    def repeat_an_admission(self, call: UUID) -> None:
        if call in self.held:
            self.wait(self.caller.admit(call, **self.held[call].worst))

    @rule(
        call=calls, outcome=st.sampled_from(["succeeded", "cancelled", "failed"]), inputs=UNITS, outputs=UNITS
    )
    def finish(self, call: UUID, outcome: str, inputs: int, outputs: int) -> None:
        """Also a second time, also with more than was held."""
        cost, how = finish(call, outcome, input_tokens=inputs, output_tokens=outputs)
        held = self.held.pop(call, None)
        if held is None:
            assert (cost, how) == (0, "gone")
            return
        self.ended += 1
        before = charge(self.settled)
        if outcome != "failed" and not (held.worst["output_tokens"] and not outputs):
            used = {"input_tokens": inputs, "output_tokens": outputs, "requests": 1}
            for meter, units in used.items():
                self.settled[meter] += min(units, held.worst[meter])
                self.served[meter] += min(units, held.worst[meter])
        assert (cost, how) == (charge(self.settled) - before, outcome)
        self.charged += cost

    @rule(call=calls)
    def renew(self, call: UUID) -> None:
        gone = self.wait(self.admission.renew([call], 60))
        assert gone == ([] if call in self.held else [call])

    @rule()
    def reap_nothing_alive(self) -> None:
        assert reaper.reap() == []

    @rule()
    def reap_everything(self) -> None:
        assert set(reaper.reap(clock.now() + timedelta(hours=1))) == self.held.keys()
        self.ended += len(self.held)
        self.held.clear()

    @rule(twice=st.booleans())
    def meter(self, twice: bool) -> None:
        entries = redis.client().xrange("usage")
        record()
        if twice:
            for _, fields in entries:
                redis.client().xadd("usage", fields)
            assert record() == 0

    @rule()
    def return_the_lease(self) -> None:
        leases.return_unused(since=clock.now() + timedelta(hours=1))
        self.caller.facts = self.shop.facts()

    @rule(is_recorded=st.booleans())
    def lose_redis(self, is_recorded: bool) -> None:
        if is_recorded:
            record()
        else:
            self.ended -= redis.client().xlen("usage")
        redis.client().flushdb()
        self.held.clear()
        with pytest.raises(StaleFacts):
            self.wait(self.caller.admit(input_tokens=1))
        self.caller.facts = self.shop.facts()
        period = BillingPeriod.objects.get(subscription=self.shop.subscription)
        recorded = limits.used(period)
        self.settled = {meter: recorded.get(meter, 0) for meter in PRICES}
        self.allowed = limits.allowed(period)

    @invariant()
    def nothing_is_overspent(self) -> None:
        """Counting also what a lost Redis took with it."""
        most = {
            meter: self.served[meter] + sum(call.worst[meter] for call in self.held.values())
            for meter in PRICES
        }
        assert most["requests"] <= 12
        assert self.charged <= SPEND_CAP

    @invariant()
    def holds_and_slots_are_live_calls(self) -> None:
        expected = {request.hex.encode() for request in self.held}
        assert set(redis.client().zrange("holds", 0, -1)) == expected
        assert redis.client().smembers(f"live:{self.shop.subscription.pk.hex}") == expected

    def teardown(self) -> None:
        self.reap_everything()
        record()
        period = BillingPeriod.objects.get(subscription=self.shop.subscription)
        assert invariants.check() == []
        assert UsageEvent.objects.filter(subscription=self.shop.subscription).count() == self.ended
        units = {meter: limits.used(period).get(meter, 0) for meter in PRICES}
        assert units == self.settled
        assert period.gross == charge(units)
        self.admission.close()
        self.wait(self.client.aclose())
        self.loop.close()


def charge(units: dict[str, int]) -> int:
    return sum(rating.cumulative(PRICES[meter], count) for meter, count in units.items())


def record() -> int:
    metering.join()
    return metering.drain(through=b"+")


def test_credit_follows_the_model_in_any_order(books: None) -> None:
    run_state_machine_as_test(
        Credit,
        settings=settings(
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
