"""Organisations take turns in a version's queue, and none takes all of its places."""

from collections.abc import Iterator
from uuid import UUID

import pytest
import pytest_asyncio

from inference import protocol
from inference.gateway import lines, waiting
from inference.gateway.commands import SharedCommands
from inference.gateway.dispatch import RedisPublisher
from inference.gateway.errors import Overloaded, ShareTaken, headers_of
from inference.worker import turns
from portal.kit import ids, redis
from tests.inference.gateway.test_dispatch import VERSION, call

FLOOD, QUIET, OTHER = (UUID(int=number) for number in (1, 2, 3))


@pytest_asyncio.fixture
async def publisher() -> Iterator[RedisPublisher]:
    client = redis.new_async_client()
    yield RedisPublisher(SharedCommands(client))
    await client.aclose()


async def wait_for(publisher: RedisPublisher, organisation: UUID, calls: int = 1) -> list[str]:
    """Put calls of an organisation in line; their requests."""
    requests = [ids.uuid7() for _ in range(calls)]
    for request in requests:
        payload = protocol.Payload(version=VERSION, kind="generate", reply="nobody", body={"is": request.hex})
        await publisher.publish(call(request, organisation=organisation), packed=protocol.pack(payload))
    return [request.hex for request in requests]


def serve(times: int = 1) -> list[str]:
    """The requests that a worker would run for as many messages of the queue."""
    served = []
    for _ in range(times):
        if redis.client().rpop(protocol.queue_name(VERSION)) is None:
            break
        turn = turns.take_next(redis.client(), VERSION, request="0" * 32, token=ids.uuid7().hex)
        if turn is not None:
            assert turn[1].body == {"is": turn[0]}
            redis.client().delete(protocol.payload_key(turn[0]))
            served.append(turn[0])
    return served


async def test_who_comes_after_a_flood_is_next(publisher: RedisPublisher) -> None:
    flood = await wait_for(publisher, FLOOD, 50)
    assert serve(5) == flood[:5]
    (quiet,) = await wait_for(publisher, QUIET)
    assert quiet in serve(2)


async def test_organisations_take_turns_and_each_is_first_come_first_served(
    publisher: RedisPublisher,
) -> None:
    lines_of = {name: await wait_for(publisher, name, 20) for name in (FLOOD, QUIET, OTHER)}
    served = serve(30)
    for requests in lines_of.values():
        assert [request for request in served if request in requests] == requests[:10]
    for start in range(0, 30, 3):
        owners = {
            name
            for name, all_of in lines_of.items()
            for request in served[start : start + 3]
            if request in all_of
        }
        assert owners == {FLOOD, QUIET, OTHER}


async def test_being_away_saves_up_no_turns(publisher: RedisPublisher) -> None:
    await wait_for(publisher, FLOOD, 40)
    serve(30)
    late = await wait_for(publisher, QUIET, 10)
    assert len(set(serve(10)) & set(late)) == 5


async def test_a_turn_is_not_spent_on_a_call_that_was_withdrawn(publisher: RedisPublisher) -> None:
    withdrawn, wanted = await wait_for(publisher, QUIET, 2)
    flood = await wait_for(publisher, FLOOD, 3)
    redis.client().delete(protocol.payload_key(withdrawn))
    assert set(serve(2)) == {wanted, flood[0]}
    assert serve(10) == flood[1:]
    assert redis.client().keys("inference:line:*") == redis.client().keys("inference:turns:*") == []


async def test_a_lost_answer_asked_for_again_is_the_same_turn(publisher: RedisPublisher) -> None:
    first, second = await wait_for(publisher, QUIET, 2)
    answers = [
        turns.take_next(redis.client(), VERSION, request=second, token="one message") for _ in range(2)
    ]
    assert [answer and answer[0] for answer in answers] == [first, first]


async def test_a_flood_leaves_room_for_others(
    publisher: RedisPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUEUE_LIMIT", 12)
    await wait_for(publisher, FLOOD, 6)
    with pytest.raises(ShareTaken) as refused:
        await wait_for(publisher, FLOOD)
    assert headers_of(refused.value)["retry-after"] == "2"
    await wait_for(publisher, QUIET, 3)
    with pytest.raises(ShareTaken):
        await wait_for(publisher, QUIET)
    await wait_for(publisher, OTHER, 2)
    for number in range(4, 20):
        try:
            await wait_for(publisher, UUID(int=number))
        except Overloaded:
            break
    assert redis.client().llen(protocol.queue_name(VERSION)) == 12


async def test_withdrawn_calls_take_no_share(
    publisher: RedisPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUEUE_LIMIT", 12)
    for request in await wait_for(publisher, FLOOD, 6):
        redis.client().delete(protocol.payload_key(request))
    redis.client().ltrim(protocol.queue_name(VERSION), 0, 1)
    await wait_for(publisher, FLOOD, 5)


async def test_what_a_dying_worker_took_out_of_line_is_put_back(publisher: RedisPublisher) -> None:
    """Whether it had the message alone, or the call as well."""
    requests = [ids.uuid7() for _ in range(4)]
    calls = [call(request, organisation=QUIET) for request in requests]
    for each in calls:
        payload = protocol.Payload(version=VERSION, kind="generate", reply="nobody", body={"is": each.hex})
        await publisher.publish(each, packed=protocol.pack(payload))
    redis.client().rpop(protocol.queue_name(VERSION), 2)
    assert turns.take_next(redis.client(), VERSION, request=calls[0].hex, token="dies")
    client = redis.new_async_client()
    assert await lines.restore(client, VERSION, calls) == 2
    assert await lines.restore(client, VERSION, calls) == 2
    await client.aclose()
    for each in calls[:2]:
        await publisher.publish(each, packed=None)
    assert serve(10) == [each.hex for each in calls]
