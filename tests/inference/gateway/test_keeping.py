"""What is kept to be fetched again is bounded, per organisation and in all; what is dropped is never run again."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from inference.gateway import kept
from inference.gateway.kept import Kept
from inference.gateway.kept.results import ENTRY_BYTES, SUMS
from inference.gateway.records import TOO_LARGE, Record, Records
from inference.gateway.retrying import attempts
from inference.gateway.retrying.attempts import Answer, Attempts
from inference.gateway.retrying.errors import AnswerDropped, AnswerTooLarge, TooManyKeys
from portal.kit import ids, redis
from tests.full_redis import full

ACME, OTHERS = UUID(int=1), UUID(int=2)
BODY = b"x" * 10_000
# Room for three answers of one organisation, and for five of all.
LIMITS = kept.Limits(organisation=3 * (11_000 + ENTRY_BYTES), total=5 * (11_000 + ENTRY_BYTES))


@pytest.fixture
async def store() -> AsyncIterator[Kept]:
    client = redis.new_async_client()
    yield Kept(client, most=LIMITS)
    await client.aclose()


def attempt(store: Kept, key: str, *, by: UUID = ACME, most: attempts.Limits | None = None) -> Attempts:
    return Attempts(store._client, by, key=key, kept=store, most=most)


async def answer(store: Kept, key: str, *, by: UUID = ACME, body: bytes = BODY) -> None:
    """A call with this key, from its beginning to its kept end."""
    each = attempt(store, key, by=by)
    assert await each.claim(b"digest") is None
    await each.keep(Answer(200, [], body))


async def repeat(store: Kept, key: str, *, by: UUID = ACME) -> bytes:
    """What a retry is answered."""
    each = attempt(store, key, by=by)
    first = await each.claim(b"digest")
    assert first is not None, "it would run, and be charged, again"
    return (await each.answer(first, b"digest")).body


async def survivors(store: Kept, *keys: str, by: UUID = ACME) -> list[str]:
    found = []
    for key in keys:
        try:
            assert await repeat(store, key, by=by) == BODY
        except AnswerDropped:
            continue
        found.append(key)
    return found


async def test_the_oldest_answers_of_an_organisation_make_room_for_its_new_ones(store: Kept) -> None:
    await answer(store, "theirs", by=OTHERS)
    for key in "abcde":
        await answer(store, key)
    assert await survivors(store, *"abcde") == ["c", "d", "e"]
    assert await survivors(store, "theirs", by=OTHERS) == ["theirs"]


async def test_the_oldest_answers_of_all_make_room_where_all_together_keep_too_much(store: Kept) -> None:
    for number in range(3):
        for key in "ab":
            await answer(store, key, by=UUID(int=number))
    for key in "ab":
        await answer(store, key, by=UUID(int=9))
    assert await survivors(store, "a", "b", by=UUID(int=0)) == []
    assert await survivors(store, "a", "b", by=UUID(int=9)) == ["a", "b"]
    assert len(redis.client().keys("inference:answer:*")) == 5


async def test_sums_come_back_to_nothing(store: Kept) -> None:
    """What was replaced, dropped, or has expired by itself is counted no more."""
    for _ in range(3):
        for key in "abcd":
            await store.put(key, BODY, organisation=ACME.hex, seconds=900)
    assert int(redis.client().hget(SUMS, "all")) == 3 * (len(BODY) + ENTRY_BYTES)
    redis.client().zadd("inference:kept:ages", dict.fromkeys("bcd", 1))
    await store.put("e", b"", organisation=OTHERS.hex, seconds=900)
    assert redis.client().hgetall(SUMS) == {OTHERS.hex.encode(): b"1024", b"all": b"1024"}
    assert redis.client().keys("inference:kept:ages:*") == [f"inference:kept:ages:{OTHERS.hex}".encode()]


async def test_an_answer_larger_than_all_that_may_be_kept_says_so(store: Kept) -> None:
    await answer(store, "small")
    await answer(store, "large", body=b"x" * 50_000)
    with pytest.raises(AnswerTooLarge):
        await repeat(store, "large")
    assert await survivors(store, "small") == ["small"]


async def test_a_full_redis_still_keeps_what_was_paid_for(store: Kept) -> None:
    each = attempt(store, "a")
    assert await each.claim(b"digest") is None
    with full():
        await each.renew()
        await each.keep(Answer(200, [], BODY))
    assert await survivors(store, "a") == ["a"]


async def test_an_organisation_may_use_so_many_keys_and_no_more_until_the_promise_is_over(
    store: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = attempts.Limits(organisation=2, total=3)
    for key in "ab":
        assert await attempt(store, key, most=most).claim(b"digest") is None
    with pytest.raises(TooManyKeys) as refused:
        await attempt(store, "c", most=most).claim(b"digest")
    assert 0 < refused.value.retry_after <= attempts.KEEP_SECONDS
    assert await attempt(store, "a", most=most).claim(b"digest") is not None
    assert await attempt(store, "a", by=OTHERS, most=most).claim(b"digest") is None
    with pytest.raises(TooManyKeys):
        await attempt(store, "b", by=OTHERS, most=most).claim(b"digest")
    await attempt(store, "a", most=most).forget()
    assert await attempt(store, "b", by=OTHERS, most=most).claim(b"digest") is None
    monkeypatch.setattr(attempts, "KEEP_SECONDS", 0)
    assert await attempt(store, "c", most=most).claim(b"digest") is None
    assert redis.client().zcard(attempts.ENTRIES) == 3
    assert len(redis.client().keys("inference:idempotency:*" + "?" * 64)) == 3


def prediction(**fields: object) -> Record:
    return Record(
        request=ids.uuid7().hex,
        organisation=ACME.hex,
        listing="l",
        version="v",
        model="m",
        reply="r",
        **fields,
    )  # type: ignore[arg-type]


async def test_predictions_make_room_for_each_other_and_a_huge_one_says_so(store: Kept) -> None:
    records = Records(store._client, store)
    made = [prediction(status="succeeded", output="x" * 10_000) for _ in range(5)]
    for each in made:
        await records.keep(each)
    found = [await records.find(each.request) for each in made]
    assert [each is not None for each in found] == [False, False, True, True, True]
    huge = prediction(status="succeeded", output="x" * 50_000)
    await records.keep(huge)
    kept_huge = await records.find(huge.request)
    assert kept_huge is not None
    assert (kept_huge.status, kept_huge.output, kept_huge.error) == ("succeeded", None, TOO_LARGE)
