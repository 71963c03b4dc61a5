"""When Redis has lost its memory, every call that a web process knows of still ends, as failed and with one event."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from django.db import connection

from billing import metering
from billing.models import UsageEvent
from inference.gateway.losses import Losses
from portal.kit import redis
from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import ask, holds


@pytest.fixture(autouse=True)
def _no_facts(transactional_db: None) -> None:
    """The partitioned facts are no managed model, so Django's flush leaves them."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE usage_event")


@pytest.fixture
def admitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that were admitted, in hex, in their order."""
    from billing.credit.admission import Admission

    admit, seen = Admission.admit, list[str]()

    async def note(self: Admission, *arguments: Any, **options: Any) -> Any:
        answer = await admit(self, *arguments, **options)
        seen.append(options["request_id"].hex)
        return answer

    monkeypatch.setattr(Admission, "admit", note)
    return seen


def recorded() -> list[tuple[str, str, int]]:
    return sorted((event[b"i"].decode(), event[b"o"].decode(), int(event[b"c"])) for event in usage_events())


def test_every_admitted_call_ends_as_failed_however_far_it_was(
    offer: Offers, client: Clients, worker: Workers, admitted: list[str]
) -> None:
    running, waiting = offer(), offer("cold")
    hands, _ = worker(running, pieces=None), worker(waiting, loading=True)
    with ThreadPoolExecutor() as threads:
        whole = threads.submit(ask, client(running), running)
        stream = ask(client(running), running, stream=True)
        left = ask(client(running), running, stream=True)
        queued = threads.submit(ask, client(waiting), waiting)
        await_that(lambda: len(hands.open_calls) == 3 and len(admitted) == 4)
        redis.client().flushall()
        left.close()
        # One is ended by its worker, which finds no hold; nobody ends the others.
        hands.finish(next(iter(hands.open_calls)), pieces=["an answer"])
        await_that(lambda: len(usage_events()) == 4, seconds=20)
        for answer in (whole, queued):
            with pytest.raises(openai.APIError):
                answer.result(20)
        with pytest.raises(openai.APIError):
            list(stream)
    assert recorded() == sorted((request, "failed", 0) for request in admitted)
    metering.join()
    metering.record(metering.take("test", count=100, block_ms=100), shard=0)
    assert UsageEvent.objects.filter(outcome="failed", charge=0).count() == 4
    hands.pieces = lambda _: ["again"]
    assert ask(client(running), running).choices[0].message.content == "again"
    assert holds() == 0


@pytest.mark.parametrize("is_metered", [False, True])
def test_a_call_that_has_an_event_gets_no_second_one(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch, is_metered: bool
) -> None:
    """Whoever finds its hold gone cannot tell by that whether it was recorded."""
    tiny = offer()
    worker(tiny, pieces=["fine"])
    noted: list[Any] = []
    record = Losses.record

    async def distrust(self: Losses) -> None:
        for call in noted:
            self.note(call)
        await record(self)
        looked.extend(noted)

    looked: list[Any] = []
    _keep_calls(monkeypatch, noted)
    assert ask(client(tiny), tiny).choices[0].message.content == "fine"
    if is_metered:
        metering.join()
        metering.record(metering.take("test", count=100, block_ms=100), shard=0)
    monkeypatch.setattr(Losses, "record", distrust)
    await_that(lambda: looked)
    assert len(usage_events()) + UsageEvent.objects.count() == 1


def test_a_call_that_lives_is_left_alone(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    calls: list[Any] = []
    _keep_calls(monkeypatch, calls)
    stream = ask(client(tiny), tiny, stream=True)
    await_that(lambda: hands.open_calls)
    losses: list[Losses] = []
    record = Losses.record

    async def note_all(self: Losses) -> None:
        self.note(calls[0])
        await record(self)
        losses.append(self)

    monkeypatch.setattr(Losses, "record", note_all)
    await_that(lambda: len(losses) > 1)
    assert usage_events() == []
    hands.finish(next(iter(hands.open_calls)), pieces=["done"])
    assert list(stream)
    assert [event[b"o"] for event in usage_events()] == [b"succeeded"]


def _keep_calls(monkeypatch: pytest.MonkeyPatch, into: list[Any]) -> None:
    from inference.gateway import calls

    made = calls.Call

    def keep(**fields: Any) -> Any:
        into.append(made(**fields))
        return into[-1]

    monkeypatch.setattr(calls, "Call", keep)
