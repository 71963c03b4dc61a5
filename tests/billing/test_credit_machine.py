"""Admission, settlement, reaping, metering, changes and losses in any order, against a plain model."""

import asyncio
import shutil
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing import budgets, invariants, metering, rating
from billing.credit import budget_leases, leases, limits, reaper
from billing.errors import AllowanceExhausted, BudgetExhausted, RateLimited, StaleFacts
from billing.models import BillingPeriod, BudgetLease, KeyDay, UsageEvent
from billing.rating import Price
from portal.accounts.models import ApiKey, Organisation
from portal.kit import clock, ids, redis
from tests.billing.private_redis import PrivateRedis, running
from tests.billing.shop import Caller, finish, make_key, new_admission, open_shop

Result = TypeVar("Result")
PRICES = {"input_tokens": Price(10, 7, 3), "output_tokens": Price(0, 11, 1), "requests": Price(12, None)}
SPEND_CAP, INCLUDED = 900, 12
OF_SUBSCRIPTION = {"concurrent_requests": 4, "tokens_per_minute": 150}
OF_ORGANISATION = {"concurrent_requests": 6, "requests_per_minute": 20}
OF_KEY = {"concurrent_requests": 3, "requests_per_minute": 9, "tokens_per_minute": 120}
SCALE = 60_000
UNITS = st.integers(0, 30)
AN_HOUR_MS = 3_600_000


@dataclass
class Holder:
    """Who has rate limits: what its buckets hold, in whole units, and how many of its calls live."""

    limits: Mapping[str, int]
    levels: dict[str, int] = field(default_factory=dict)
    live: int = 0

    def __post_init__(self) -> None:
        self.fill()

    def fill(self) -> None:
        self.levels = {kind: self.limits.get(f"{kind}_per_minute", 0) for kind in ("requests", "tokens")}

    def refuses(self, tokens: int) -> bool:
        wanted = {"requests": 1, "tokens": tokens}
        short = [kind for kind in wanted if self.limited(kind) and self.levels[kind] < wanted[kind]]
        return bool(short) or self.live >= self.limits.get("concurrent_requests", 10**9)

    def limited(self, kind: str) -> bool:
        return bool(self.limits.get(f"{kind}_per_minute"))


@dataclass
class Fund:
    """A budget with a lease in Redis. `served` is what was charged, whatever became of Redis; `most` the
    largest that the budget ever was.
    """

    allowed: int
    settled: int = 0
    held: int = 0
    served: int = 0
    most: int = 0


@dataclass
class Period:
    """What one subscription's period has settled and may use up."""

    settled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PRICES, 0))
    served: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PRICES, 0))
    allowed: dict[str, int] = field(default_factory=lambda: {"charge": SPEND_CAP, "requests": INCLUDED})
    charged: int = 0


@dataclass
class Held:
    """A live call of the model."""

    shop: int
    key: int | None
    worst: dict[str, int]
    funds: list[Fund]
    bound: int


class Credit(RuleBasedStateMachine):
    """One organisation, two subscriptions and two keys. The model: units settled, calls held."""

    server: ClassVar[PrivateRedis]
    home: ClassVar[Path]
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        redis.client().flushdb()
        self.loop = asyncio.new_event_loop()
        self.admission, self.client = new_admission()
        self.shops = list(self._open_shops())
        self.keys = [
            make_key(self.shops[0], total_budget=700, monthly_budget=400),
            make_key(self.shops[0], total_budget=300, **OF_KEY),
        ]
        self.periods = [Period(), Period()]
        self.holders = {self.shops[0].consumer.pk: Holder(OF_ORGANISATION), self.keys[0].pk: Holder({})}
        self.holders |= {self.keys[1].pk: Holder(OF_KEY)}
        self.holders |= {shop.subscription.pk: Holder(OF_SUBSCRIPTION) for shop in self.shops}
        self.funds: list[dict[str, Fund]] = [
            {"month": Fund(400, most=400), "total": Fund(700, most=700)}, {"total": Fund(300, most=300)},
        ]  # fmt: skip
        self.charged_to: dict[int | None, int] = {0: 0, 1: 0, None: 0}
        self.held: dict[UUID, Held] = {}
        self.ended: set[UUID] = set()
        self.restarts = 0
        self.copy: Path | None = None
        self.facts: dict[tuple[int, int | None], Any] = {}
        self.look_up()

    def _open_shops(self) -> Any:
        components = {meter: (price.included, price.amount, price.per) for meter, price in PRICES.items()}
        terms = {"components": components, "spend_cap": SPEND_CAP, **OF_SUBSCRIPTION}
        first = open_shop(**terms)  # type: ignore[arg-type]
        Organisation.objects.filter(pk=first.consumer.pk).update(**OF_ORGANISATION)
        first.consumer.refresh_from_db()
        yield first
        yield open_shop(consumer=first.consumer, **terms)  # type: ignore[arg-type]

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(coroutine)

    def look_up(self) -> None:
        """Forget all facts, as after any change of an epoch, and open every lease."""
        self.facts.clear()
        for both in (0, 1):
            self.facts_of(both, both)

    def facts_of(self, shop: int, key: int | None) -> Any:
        if (shop, key) not in self.facts:
            identity = None if key is None else self.keys[key].pk
            self.facts[shop, key] = self.shops[shop].facts(key_id=identity)
        return self.facts[shop, key]

    def holders_of(self, shop: int, key: int | None) -> list[Holder]:
        names = [self.shops[shop].subscription.pk, self.shops[shop].consumer.pk]
        return [self.holders[name] for name in (*names, *([] if key is None else [self.keys[key].pk]))]

    def refusal(self, shop: int, key: int | None, worst: dict[str, int]) -> type[Exception] | None:
        tokens = worst["input_tokens"] + worst["output_tokens"]
        if any(holder.refuses(tokens) for holder in self.holders_of(shop, key)):
            return RateLimited
        period = self.periods[shop]
        held = [call.worst for call in self.held.values() if call.shop == shop]
        then = {
            meter: period.settled[meter] + sum(each[meter] for each in held) + worst[meter]
            for meter in PRICES
        }
        if then["requests"] > period.allowed["requests"] or charge(then) > period.allowed["charge"]:
            return AllowanceExhausted
        for fund in self.funds_of(key):
            if bound(worst) and fund.settled + fund.held + bound(worst) > fund.allowed:
                return BudgetExhausted
        return None

    def funds_of(self, key: int | None) -> list[Fund]:
        return [] if key is None else list(self.funds[key].values())

    @rule(
        target=calls, shop=st.integers(0, 1), key=st.sampled_from([None, 0, 1]), inputs=UNITS, outputs=UNITS
    )
    def admit(self, shop: int, key: int | None, inputs: int, outputs: int) -> Any:
        worst = {"input_tokens": inputs, "output_tokens": outputs, "requests": 1}
        expected, request = self.refusal(shop, key, worst), ids.uuid7()
        caller = Caller(self.admission, self.facts_of(shop, key))
        stop_refilling()
        if expected is not None:
            with pytest.raises(expected):
                self.wait(caller.admit(request, **worst))
            return multiple()
        self.wait(caller.admit(request, **worst))
        call = self.held[request] = Held(shop, key, worst, self.funds_of(key), bound(worst))
        for fund in call.funds:
            fund.held += call.bound
        for holder in self.holders_of(shop, key):
            holder.live += 1
            holder.levels["requests"] -= 1
            holder.levels["tokens"] -= inputs + outputs
        return request

    @rule(call=calls)
    def repeat_an_admission(self, call: UUID) -> None:
        if call in self.held:
            held = self.held[call]
            facts = self.facts_of(held.shop, held.key)
            self.wait(Caller(self.admission, facts).admit(call, **held.worst))

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
        period, used = (
            self.periods[held.shop],
            {"input_tokens": inputs, "output_tokens": outputs, "requests": 1},
        )
        before = charge(period.settled)
        is_free = outcome == "failed" or bool(held.worst["output_tokens"] and not outputs)
        for meter, units in used.items():
            counted = 0 if is_free else min(units, held.worst[meter])
            period.settled[meter] += counted
            period.served[meter] += counted
        assert (cost, how) == (charge(period.settled) - before, outcome)
        assert cost <= held.bound
        period.charged += cost
        self.charged_to[held.key] += cost
        self.release(call, held, cost=cost, tokens=0 if is_free else inputs + outputs)

    def release(self, call: UUID, held: Held, *, cost: int = 0, tokens: int = 0) -> None:
        self.ended.add(call)
        for fund in held.funds:
            fund.held -= held.bound
            fund.settled += cost
            fund.served += cost
        back = held.worst["input_tokens"] + held.worst["output_tokens"] - tokens
        for holder in self.holders_of(held.shop, held.key):
            holder.live -= 1
            holder.levels["tokens"] += max(0, back)

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
        for call, held in self.held.items():
            self.release(call, held)
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
    def return_the_leases(self) -> None:
        leases.return_unused(since=clock.now() + timedelta(hours=1))
        budget_leases.return_unused(since=clock.now() + timedelta(hours=1))
        self.look_up()
        for fund, stored in self.stored_funds():
            # What ran before a budget was set is counted once its lease opens anew.
            assert int(stored[b"q"]) >= fund.settled
            fund.settled = int(stored[b"q"])

    @rule(
        key=st.integers(0, 1), span=st.sampled_from(["month", "total"]), size=st.none() | st.integers(0, 800)
    )
    def change_a_budget(self, key: int, span: str, size: int | None) -> None:
        column = {"month": "monthly_budget", "total": "total_budget"}[span]
        ApiKey.objects.filter(pk=self.keys[key].pk).update(**{column: size})
        self.look_up()
        if size is None:
            self.funds[key].pop(span, None)
        elif span in self.funds[key]:
            fund = self.funds[key][span]
            fund.allowed, fund.most = size, max(size, fund.most)
        else:
            used = self.used_up(key, span)
            self.funds[key][span] = Fund(size, settled=used, served=used, most=max(size, used))

    @rule(is_recorded=st.booleans())
    def lose_redis(self, is_recorded: bool) -> None:
        if is_recorded:
            record()
        self.ended -= unrecorded()
        redis.client().flushdb()
        self.recover()

    @precondition(lambda self: not self.restarts and self.copy is None)
    @rule()
    def keep_a_copy(self) -> None:
        self.copy = self.home / ids.uuid7().hex
        shutil.copytree(self.server.server.data, self.copy)

    @precondition(lambda self: not self.restarts)
    @rule()
    def restart_redis(self) -> None:
        """Killed, and back with its own files or with an older copy of them."""
        self.restarts += 1
        before = unrecorded()
        self.wait(self.client.aclose())
        self.admission.close()
        self.server.restore(self.copy) if self.copy else self.server.restart()
        redis.client.cache_clear()
        self.admission, self.client = new_admission()
        self.ended -= before - on_the_stream()
        survivors = {UUID(hold.decode()) for hold in redis.client().zrange("holds", 0, -1)}
        self.recover()
        # The holds that came back are of a lost lease, so their calls end free.
        assert set(reaper.reap(clock.now() + timedelta(hours=1))) == survivors
        self.ended |= survivors

    def recover(self) -> None:
        """Redis is not what it was: nothing is admitted until Postgres has granted anew."""
        for facts in list(self.facts.values()):
            with pytest.raises(StaleFacts):
                self.wait(Caller(self.admission, facts).admit(input_tokens=1))
        self.held.clear()
        for holder in self.holders.values():
            holder.live = 0
            holder.fill()
        redis.client().delete(*(f"bucket:{name.hex}" for name in self.holders))
        self.look_up()
        for shop, state in zip(self.shops, self.periods, strict=True):
            period = BillingPeriod.objects.get(subscription=shop.subscription)
            recorded = limits.used(period)
            state.settled = {meter: recorded.get(meter, 0) for meter in PRICES}
            state.allowed = limits.allowed(period)
        for key, funds in enumerate(self.funds):
            for span, fund in funds.items():
                fund.held, fund.settled = 0, self.used_up(key, span)

    def used_up(self, key: int, span: str) -> int:
        identity = self.keys[key].pk
        window = budgets.window(span, clock.now(), allowed=0)  # type: ignore[arg-type]
        return budgets.spent(identity, window) + budgets.forfeited(identity, window)

    def stored_funds(self) -> list[tuple[Fund, dict[bytes, bytes]]]:
        found = []
        for key, funds in enumerate(self.funds):
            open_leases = BudgetLease.objects.filter(api_key=self.keys[key], closed_at=None)
            assert {lease.span for lease in open_leases} == set(funds)
            found += [
                (funds[each.span], redis.client().hgetall(f"budget:{each.pk.hex}")) for each in open_leases
            ]
        return found

    @invariant()
    def nothing_is_overspent(self) -> None:
        """Counting also what a lost Redis took with it."""
        for at, period in enumerate(self.periods):
            held = [call.worst for call in self.held.values() if call.shop == at]
            assert period.served["requests"] + sum(each["requests"] for each in held) <= INCLUDED
            assert period.charged <= SPEND_CAP
        for funds in self.funds:
            for fund in funds.values():
                assert fund.served + fund.held <= fund.most

    @invariant()
    def budgets_in_redis_are_the_model(self) -> None:
        for fund, stored in self.stored_funds():
            told = [int(stored[name]) for name in (b"q", b"h", b"x")]
            assert told == [fund.settled, fund.held, fund.allowed]

    @invariant()
    def holds_and_slots_are_live_calls(self) -> None:
        assert set(redis.client().zrange("holds", 0, -1)) == {request.hex.encode() for request in self.held}
        for name, holder in self.holders.items():
            assert redis.client().scard(f"live:{name.hex}") == holder.live
            for kind in ("requests", "tokens"):
                level = redis.client().hget(f"bucket:{name.hex}", kind)
                if level is not None:
                    assert int(level) == holder.levels[kind] * SCALE

    def teardown(self) -> None:
        self.reap_everything()
        record()
        assert invariants.check() == []
        organisation = self.shops[0].consumer
        assert UsageEvent.objects.filter(organisation=organisation).count() == len(self.ended)
        for at, key in enumerate(self.keys):
            recorded = sum(KeyDay.objects.filter(api_key=key).values_list("charge", flat=True))
            assert recorded <= self.charged_to[at]
            assert recorded == self.charged_to[at] or self.is_lossy
        self.admission.close()
        self.wait(self.client.aclose())
        self.loop.close()

    @property
    def is_lossy(self) -> bool:
        """Whether Redis may have taken charges with it."""
        return any(period.served != period.settled for period in self.periods)


def stop_refilling() -> None:
    """Buckets refill with the time since their last call. The model knows no time: let that lie ahead."""
    ahead = int(clock.now().timestamp() * 1000) + AN_HOUR_MS
    for bucket in redis.client().scan_iter("bucket:*"):
        redis.client().hset(bucket, "at", ahead)
        redis.client().persist(bucket)


def on_the_stream() -> set[UUID]:
    return {UUID(fields[b"i"].decode()) for _, fields in redis.client().xrange("usage")}


def unrecorded() -> set[UUID]:
    waiting = on_the_stream()
    return waiting - set(UsageEvent.objects.filter(id__in=waiting).values_list("id", flat=True))


def charge(units: dict[str, int]) -> int:
    return sum(rating.cumulative(price, units[meter]) for meter, price in PRICES.items())


def bound(worst: dict[str, int]) -> int:
    """The most that so many units can cost, wherever in the period they come."""
    prices = ((meter, price) for meter, price in PRICES.items() if price.amount is not None)
    return sum(-(-worst[meter] * (price.amount or 0) // price.per) for meter, price in prices)


def record() -> int:
    metering.join()
    return metering.drain(through=b"+")


def test_credit_follows_the_model_in_any_order(books: None, tmp_path: Path) -> None:
    with running(tmp_path) as Credit.server:
        Credit.home = tmp_path
        run_state_machine_as_test(
            Credit,
            settings=settings(
                max_examples=12,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
