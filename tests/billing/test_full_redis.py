"""At its memory limit Redis admits nothing more, and everything that was admitted still comes to its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import override_settings

from billing import metering
from billing.credit import keys, reaper, settlement
from billing.credit.admission import Admission
from portal.kit import clock, epochs, ids
from portal.kit import redis as kit_redis
from portal.kit.redis import is_passing
from tests.billing.shop import Caller, finish, open_shop
from tests.full_redis import contents, full
from tests.portal.embedded import debian


@pytest.fixture(params=["embedded", "packaged"], autouse=True)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Redis 6.2, which comes with us, and the one that the operating system has, which is newer."""
    if request.param == "embedded":
        yield
        return
    with debian.redis(tmp_path) as url, override_settings(REDIS_URL=url):
        kit_redis.client.cache_clear()
        yield
        kit_redis.client().close()
        kit_redis.client.cache_clear()


@pytest.fixture
async def caller(admission: Admission) -> Caller:
    shop = await sync_to_async(open_shop)(
        components={"output_tokens": (0, 1000, 1)}, requests_per_minute=100, concurrent_requests=10
    )
    return Caller(admission, await sync_to_async(shop.facts)())


async def test_nothing_is_admitted_and_nothing_has_changed(caller: Caller) -> None:
    finish((await caller.admit(output_tokens=10))[0], output_tokens=1)
    before = contents()
    with full(), pytest.raises(redis.ResponseError) as refused:
        await caller.admit(output_tokens=10)
    assert is_passing(refused.value)
    assert contents() == before
    await caller.admit(output_tokens=10)


async def test_a_meter_begins_and_takes_usage_off_the_stream(caller: Caller) -> None:
    call, _ = await caller.admit(output_tokens=10)
    finish(call, output_tokens=7)
    client = kit_redis.client()
    client.xadd(keys.USAGE_STREAM, {"not": "an event"})
    with full():
        metering.join()
        metering.join()
        taken = metering.take("meter", count=10, block_ms=1000)
        assert await sync_to_async(metering.record)(taken, shard=0) == 1
        assert metering.claim("another", idle_ms=0, count=10) == []
    assert client.xlen(keys.USAGE_STREAM) == 0
    assert client.xlen(metering.REJECTED_STREAM) == 1


async def test_a_call_ends_charged_and_its_final_arrives(caller: Caller) -> None:
    call, _ = await caller.admit(output_tokens=10)
    with full():
        assert finish(call, reply="reply", output_tokens=7) == (7000, "succeeded")
        assert finish(call, reply="again", output_tokens=7) == (0, "gone")
    client = kit_redis.client()
    assert client.xlen("reply") == 1
    assert client.xlen(keys.USAGE_STREAM) == 1
    assert client.keys("hold:*") == client.keys("live:*") == []
    assert client.hget(keys.lease(caller.facts.period_id), "output_tokens:h") == b"0"


async def test_a_call_that_runs_keeps_its_hold(caller: Caller) -> None:
    call, _ = await caller.admit(output_tokens=10)
    client = kit_redis.client()
    before = client.zscore(keys.HOLDS, call.hex)
    with full():
        gone = ids.uuid7()
        assert await caller.admission.renew([call, gone], 600) == [gone]
        await sync_to_async(settlement.attach_control)(client, request_id=call, stream="control")
    assert client.zscore(keys.HOLDS, call.hex) > before + 300_000
    assert client.hget(keys.hold(call), "control") == b"control"


async def test_what_nobody_renews_is_still_reaped(caller: Caller) -> None:
    call, _ = await caller.admit(output_tokens=10)
    with full():
        assert reaper.reap(clock.now().replace(year=2100)) == [call]
    assert kit_redis.client().keys("hold:*") == []


@pytest.mark.django_db(transaction=True)
def test_what_was_revoked_stays_revoked(clean_redis: None) -> None:
    key = ids.uuid7()
    with full(), transaction.atomic():
        epochs.bump("key", key)
    assert epochs.read([epochs.name("key", key)]) == [1]
