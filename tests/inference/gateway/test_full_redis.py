"""When Redis is full, new calls are refused with words, and calls under way are seen through."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import openai
import pytest

from billing.credit.admission import Admission
from inference import protocol
from portal.kit import redis
from tests.full_redis import full
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import ask, holds
from tests.inference.worker.worker_process import RunningWorker, start_worker

TOKENS = 900


def refused(call: Callable[[], Any]) -> openai.InternalServerError:
    with pytest.raises(openai.InternalServerError, match="can take no more calls at the moment") as refusal:
        call()
    assert (refusal.value.status_code, refusal.value.type) == (503, "server_error")
    assert refusal.value.code == "service_unavailable"
    assert int(refusal.value.response.headers["retry-after"]) >= 1
    return refusal.value


def test_a_call_is_refused_before_it_holds_anything(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    worker(tiny, pieces=["fine"])
    assert ask(client(tiny), tiny).choices[0].message.content == "fine"
    with full():
        refused(lambda: ask(client(tiny), tiny))
        refused(lambda: ask(client(tiny), tiny, stream=True))
    assert holds() == 0
    assert len(usage_events()) == 1


def test_a_call_that_was_admitted_and_found_no_room_costs_nothing(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = offer()
    worker(tiny, pieces=["fine"])
    admit = Admission.admit
    filling = full()

    async def admit_the_last(self: Admission, *arguments: Any, **options: Any) -> Any:
        admitted = await admit(self, *arguments, **options)
        filling.__enter__()
        return admitted

    monkeypatch.setattr(Admission, "admit", admit_the_last)
    try:
        refused(lambda: ask(client(tiny), tiny))
        await_that(lambda: holds() == 0, seconds=1)
    finally:
        filling.__exit__(None, None, None)
    (event,) = usage_events()
    assert (event[b"o"], int(event[b"c"])) == (b"failed", 0)
    assert redis.client().keys("inference:payload:*") == []


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[RunningWorker]:
    running = start_worker(tmp_path)
    running.await_registered()
    yield running
    if running.process.poll() is None:
        running.kill()


def begin(client: openai.OpenAI, offer: Offer) -> Any:
    """A long stream whose first words have come."""
    chunks = client.chat.completions.create(
        model=offer.name, messages=HELLO, max_tokens=TOKENS, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    while not (next(chunks).choices[0].delta.content or ""):
        pass
    return chunks


def test_a_call_under_way_delivers_every_token(offer: Offers, client: Clients, hands: RunningWorker) -> None:
    tiny = offer()
    chunks = begin(client(tiny), tiny)
    with full():
        last = list(chunks)[-1]
    assert last.usage.completion_tokens == TOKENS
    (event,) = usage_events()
    assert event[b"o"] == b"succeeded"
    assert msgpack.unpackb(event[b"q"])["output_tokens"] == TOKENS
    assert holds() == 0


def test_a_full_redis_kills_no_worker_and_no_call_that_waits(
    offer: Offers, client: Clients, hands: RunningWorker
) -> None:
    tiny = offer()
    chunks = begin(client(tiny), tiny)
    with full():
        time.sleep(protocol.WORKER_LEASE_SECONDS + 1.5)
        assert hands.state() is not None, "its lease has lapsed"
    assert list(chunks)[-1].usage.completion_tokens == TOKENS
    answer = ask(client(tiny), tiny)
    assert answer.usage.completion_tokens == 8
    assert hands.process.poll() is None


def test_a_client_that_leaves_still_stops_its_run(
    offer: Offers, client: Clients, hands: RunningWorker
) -> None:
    tiny = offer()
    chunks = begin(client(tiny), tiny)
    with full():
        chunks.close()
        await_that(usage_events)
    (event,) = usage_events()
    assert event[b"o"] == b"cancelled"
    assert msgpack.unpackb(event[b"q"])["output_tokens"] < TOKENS
