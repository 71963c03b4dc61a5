"""Who may call what: passes of the playground, keys without the scope, caches that never outlive a change."""

import asyncio
import shutil
from collections.abc import Callable
from typing import Any

import msgpack
import openai
import psutil
import pytest
from django.conf import LazySettings, settings

from benchmarks.stand_in import StandIn
from inference.gateway.identify import Remembered, shorten
from marketplace import publishing, subscribing
from portal.accounts import api_keys, playground
from portal.kit import redis
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers, usage_events


def with_key(gateway: str, text: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway, api_key=text, max_retries=0, timeout=30)


def test_a_pass_calls_its_own_listing_alone(offer: Offers, gateway: str, worker: Workers) -> None:
    tiny, other = offer(), offer("other")
    worker(tiny, other, pieces=["x"])
    visitor = with_key(
        gateway, playground.issue(tiny.subscription.organisation_id, tiny.listing.pk, user_id=None)
    )
    assert (
        visitor.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
        .choices[0]
        .message.content
        == "x"
    )
    with pytest.raises(openai.NotFoundError):
        visitor.chat.completions.create(model=other.name, messages=HELLO, max_tokens=2)
    assert [model.id for model in visitor.models.list()] == [tiny.name]
    (event,) = usage_events()
    assert tiny.key.pk.hex not in str(msgpack.unpackb(event[b"f"]))
    with pytest.raises(openai.AuthenticationError):
        with_key(gateway, "pt_forged").models.list()


def test_a_key_for_managing_calls_nothing(offer: Offers, gateway: str, cast: Cast) -> None:
    tiny = offer()
    _, text = api_keys.issue(tiny.buyer.personal_organisation, by=tiny.buyer, name="ci", scopes=["manage"])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        with_key(gateway, text).models.list()
    assert refused.value.code == "insufficient_permissions"


def test_without_a_subscription_there_is_no_call(
    offer: Offers, gateway: str, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    stranger = cast.operator
    _, text = api_keys.issue(stranger.personal_organisation, by=stranger, name="k", scopes=["inference"])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        with_key(gateway, text).chat.completions.create(model=tiny.name, messages=HELLO)
    assert refused.value.code == "not_subscribed"


@pytest.mark.parametrize("change", ["cancel", "withdraw"])
def test_what_ends_stops_the_next_call(
    offer: Offers, client: Clients, worker: Workers, cast: Cast, change: str
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions.create
    ask(model=tiny.name, messages=HELLO, max_tokens=2)
    if change == "cancel":
        subscribing.cancel(tiny.subscription, by=tiny.buyer)
    else:
        publishing.withdraw(tiny.listing, by=cast.owner, reason="It is over.")
    with pytest.raises(openai.PermissionDeniedError if change == "cancel" else openai.NotFoundError):
        ask(model=tiny.name, messages=HELLO, max_tokens=2)


def test_a_tokenizer_evicted_from_the_cache_is_fetched_again(
    offer: Callable[..., Offer], client: Clients, worker: Callable[..., StandIn]
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions.create
    ask(model=tiny.name, messages=HELLO, max_tokens=2)
    # A new child has to read the directory again, which is no longer there.
    shutil.rmtree(settings.HOME / "cache" / "weights")
    (child,) = (
        each for each in psutil.Process().children() if "inference.gateway.prompting.child" in each.cmdline()
    )
    child.kill()
    await_that(lambda: not child.is_running())
    assert ask(model=tiny.name, messages=HELLO, max_tokens=2).choices[0].message.content == "x"


async def test_many_who_ask_at_once_cause_one_lookup() -> None:
    cache: Remembered[str, int] = Remembered(2)
    asked = 0

    async def look_up() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return asked

    assert await asyncio.gather(*(cache.get("a", look_up) for _ in range(50))) == [1] * 50
    assert await cache.get("a", look_up) == 1
    await cache.get("b", look_up)
    await cache.get("c", look_up)
    assert await cache.get("a", look_up) == 4


async def test_what_is_forgotten_during_a_lookup_is_not_remembered() -> None:
    cache: Remembered[str, str] = Remembered(2)
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "old"

    async def quick() -> str:
        return "new"

    first = asyncio.ensure_future(cache.get("a", slow))
    await asyncio.sleep(0)
    cache.forget("a")
    assert await cache.get("a", quick) == "new"
    gate.set()
    assert await first == "old"
    assert await cache.get("a", slow) == "new"


async def test_failed_lookups_are_not_remembered() -> None:
    cache: Remembered[str, Any] = Remembered(2)

    async def failing() -> Any:
        raise ValueError("no")

    async def working() -> Any:
        return 1

    with pytest.raises(ValueError, match="no"):
        await cache.get("a", failing)
    assert await cache.get("a", working) == 1


def test_errors_show_too_little_of_a_key_to_use_it() -> None:
    assert shorten("mk_" + "0123456789" * 9) == "mk_012...6789"
    assert shorten("mk_short") == "..."


def test_visitors_have_a_quota_a_day_each_and_in_all(
    offer: Offers, gateway: str, worker: Workers, settings: LazySettings
) -> None:
    settings.VISITOR_CALLS_PER_DAY, settings.ALL_VISITORS_CALLS_PER_DAY = 2, 3
    tiny = offer()
    worker(tiny, pieces=["x"])

    def visit(address: str) -> None:
        token = playground.issue(
            tiny.subscription.organisation_id, tiny.listing.pk, user_id=None, visitor=address
        )
        with_key(gateway, token).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)

    for _ in range(2):
        visit("192.0.2.1")
    with pytest.raises(openai.RateLimitError, match="Without an account 2 calls a day") as refused:
        visit("192.0.2.1")
    assert int(refused.value.response.headers["retry-after"]) > 0
    visit("192.0.2.2")
    with pytest.raises(openai.RateLimitError, match="as many calls today"):
        visit("192.0.2.3")
    assert len(usage_events()) == 3
    # Of whom nothing is kept but counts that lapse.
    kept = redis.client().keys("inference:visitors:*")
    assert len(kept) == 3
    assert all(redis.client().ttl(key) > 0 for key in kept)
    assert b"192.0.2" not in b"".join(kept)
    member = playground.issue(tiny.subscription.organisation_id, tiny.listing.pk, user_id=tiny.buyer.pk)
    with_key(gateway, member).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
