"""Only Postgres grants. Losing Redis never lets more be spent, and nobody stalls."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from billing import invariants, metering
from billing.credit import leases, limits
from billing.errors import AllowanceExhausted, StaleFacts
from billing.models import BillingPeriod, Lease, LeaseGrant, UsageEvent
from portal.kit import clock, redis
from tests.billing.private_redis import PrivateRedis, running
from tests.billing.shop import Caller, Shop, finish, new_admission, open_shop

ONE_A_CALL = {"requests": (20, None, 1), "output_tokens": (5, 10, 1)}


@pytest.fixture
def private(books: None, tmp_path: Path) -> Iterator[PrivateRedis]:
    with running(tmp_path) as server:
        yield server


def admit(shop: Shop, calls: int = 1, *, facts: Any = None, **worst: int) -> list[UUID]:
    """As many of `calls` as are let in."""

    async def attempt() -> list[UUID]:
        admission, client = new_admission()
        caller = Caller(admission, facts or await asyncio.to_thread(_closing(shop.facts)))
        for _ in range(calls):
            try:
                await caller.admit(**{"output_tokens": 1, **worst})
            except AllowanceExhausted:
                break
        await asyncio.to_thread(admission.close)
        await client.aclose()
        return caller.admitted

    return asyncio.run(attempt())


def _closing(load: Callable[[], Any]) -> Callable[[], Any]:
    from django.db import connection

    def act() -> Any:
        try:
            return load()
        finally:
            connection.close()

    return act


def serve(shop: Shop, calls: int) -> int:
    """Calls that were admitted and answered."""
    return sum(finish(call, output_tokens=1)[1] == "succeeded" for call in admit(shop, calls))


def drain() -> int:
    metering.join()
    return metering.drain(through=b"+")


def test_a_grant_is_a_slice_and_the_last_unit_is_reachable(books: None, clean_redis: None) -> None:
    shop = open_shop(components={"requests": (160, None, 1)})
    shop.facts()
    grant = LeaseGrant.objects.get(limit="requests")
    assert grant.granted == 10
    assert serve(shop, 11) == 11
    grant.refresh_from_db()
    assert grant.granted == 10 + 150 // 16
    assert serve(shop, 1000) == 149


def test_a_killed_redis_loses_no_usage_and_lets_no_more_be_spent(private: PrivateRedis) -> None:
    shop = open_shop(components=ONE_A_CALL)
    stale = shop.facts()
    assert serve(shop, 7) == 7
    (in_flight,) = admit(shop)
    private.restart()
    with pytest.raises(StaleFacts):
        admit(shop, facts=stale)
    assert shop.facts().lease_id != stale.lease_id
    assert UsageEvent.objects.count() == 7
    assert finish(in_flight, output_tokens=1) == (0, "gone")
    assert 11 <= (later := serve(shop, 100)) <= 13
    drain()
    assert UsageEvent.objects.filter(outcome="succeeded").count() == 7 + later
    assert UsageEvent.objects.get(outcome="failed").charge == 0
    assert invariants.check() == []


def test_an_old_lease_on_a_restarted_redis_is_never_used(private: PrivateRedis) -> None:
    shop = open_shop(components=ONE_A_CALL)
    facts = shop.facts()
    admit(shop, facts=facts)
    private.restart()
    assert redis.client().exists(f"lease:{facts.period_id.hex}")
    with pytest.raises(StaleFacts):
        admit(shop, facts=facts)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_an_emptied_redis_lets_no_more_be_spent(books: None, clean_redis: None, is_recorded: bool) -> None:
    shop = open_shop(components=ONE_A_CALL)
    assert serve(shop, 7) == 7
    if is_recorded:
        drain()
    redis.client().flushdb()
    assert 11 <= serve(shop, 100) <= 13
    drain()
    assert invariants.check() == []


def test_an_older_file_lets_no_more_be_spent(private: PrivateRedis, tmp_path: Path) -> None:
    shop = open_shop(components=ONE_A_CALL)
    assert serve(shop, 5) == 5
    private.save(tmp_path / "older")
    assert serve(shop, 6) == 6
    private.restore(tmp_path / "older")
    assert 5 + 6 + serve(shop, 100) <= 20
    drain()
    assert invariants.check() == []
    assert limits.used(BillingPeriod.objects.get())["requests"] <= 20


def test_usage_that_comes_after_its_lease_was_lost_is_recorded_and_free(
    books: None, clean_redis: None
) -> None:
    shop = open_shop(components=ONE_A_CALL)
    assert serve(shop, 9) == 9
    late = redis.client().xrange("usage")
    redis.client().flushdb()
    serve(shop, 3)
    metering.join()
    metering.record(late, shard=0)
    drain()
    assert UsageEvent.objects.count() == 12
    assert UsageEvent.objects.exclude(rated={}).count() == 3
    assert invariants.check() == []


def test_a_lease_opens_once_for_a_burst(books: None, clean_redis: None) -> None:
    shop = open_shop(components=ONE_A_CALL)
    redis.client().ping()

    async def burst() -> set[UUID]:
        opened = await asyncio.gather(*(asyncio.to_thread(_closing(shop.facts)) for _ in range(8)))
        return {facts.lease_id for facts in opened}

    assert len(asyncio.run(burst())) == 1
    assert Lease.objects.count() == 1


def test_a_changed_spend_cap_counts_at_once(books: None, clean_redis: None) -> None:
    shop = open_shop(components={"output_tokens": (0, 10, 1)}, spend_cap=50)
    assert serve(shop, 100) == 5
    shop.subscription.spend_cap = 80
    shop.subscription.save()
    assert serve(shop, 100) == 3
    shop.subscription.spend_cap = 10
    shop.subscription.save()
    assert serve(shop, 100) == 0


def test_a_refill_under_a_closed_lease_is_refused(books: None, clean_redis: None) -> None:
    shop = open_shop(components=ONE_A_CALL)
    old = shop.facts()
    redis.client().flushdb()
    shop.facts()
    with pytest.raises(StaleFacts):
        leases.refill(old.period_id, lease_id=old.lease_id, needs={"requests": 5})


def test_an_unused_lease_is_returned_and_forfeits_nothing(private: PrivateRedis) -> None:
    shop = open_shop(components=ONE_A_CALL | {"requests": (160, None, 1)})
    stale = shop.facts()
    assert serve(shop, 3) == 3
    (held,) = admit(shop)
    assert leases.return_unused(since=clock.now()) == 0
    finish(held, output_tokens=1)
    assert leases.return_unused(since=clock.now() - timedelta(minutes=1)) == 0
    assert leases.return_unused(since=clock.now()) == 1
    assert UsageEvent.objects.count() == 4
    assert not Lease.objects.filter(closed_at=None).exists()
    private.restart()
    with pytest.raises(StaleFacts):
        admit(shop, facts=stale)
    assert serve(shop, 1000) == 156
    assert not LeaseGrant.objects.filter(forfeited__gt=0).exists()
    drain()
    assert invariants.check() == []
