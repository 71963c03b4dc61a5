"""What a web process does about calls that last too long, and about messages that never arrive."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from billing.credit import keys
from inference import protocol
from inference.gateway import watch
from inference.gateway.process import GatewayProcess
from portal.kit import redis
from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import ask


def test_a_run_that_lasts_too_long_is_stopped_and_costs_nothing(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RUN_SECONDS", 4.0)
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = iter(ask(client(tiny), tiny, stream=True))
    await_that(lambda: hands.open_calls)
    (request,) = hands.open_calls
    hands.write(request, "one", "two")
    with pytest.raises(openai.APIError, match=r"stopped after 4 s\. You were not charged"):
        list(stream)
    await_that(lambda: hands.cancelled == [request])
    await_that(lambda: not hands.open_calls)
    (event,) = usage_events()
    assert (event[b"o"], int(event[b"c"])) == (b"failed", 0)
    assert redis.client().zcard(keys.HOLDS) == 0


def test_a_message_lost_while_its_worker_lives_on_is_sent_again(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, loading=True, pieces=["found"])
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client(tiny), tiny)
        queue = protocol.queue_name(tiny.version.pk.hex)
        await_that(lambda: redis.client().rpop(queue))
        hands.loading = False
        assert answer.result(15).choices[0].message.content == "found"
    assert len(usage_events()) == 1


async def test_a_process_closes_although_a_cancellation_was_lost() -> None:
    process = GatewayProcess()
    await process.open()
    lost = asyncio.Event()

    async def write() -> None:
        # As `asyncio.wait_for` does when what it waits for ends at the moment of the cancellation.
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            lost.set()
        await asyncio.sleep(3600)

    process.spawn(write())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await process.close()
    assert lost.is_set()


def test_answers_that_were_delivered_leave_redis_although_nobody_calls_any_more(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    worker(tiny, pieces=["a secret ", "answer"])
    assert ask(client(tiny), tiny).choices[0].message.content == "a secret answer"
    (stream,) = redis.client().keys("inference:reply:*")
    await_that(lambda: b"secret" not in redis.client().dump(stream), seconds=5)
    assert redis.client().xlen(stream) == 0
    assert ask(client(tiny), tiny).choices[0].message.content == "a secret answer"
