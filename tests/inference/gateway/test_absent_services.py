"""While Postgres or Redis is away for a moment, callers are told to come back, and nothing is forgotten."""

from typing import Any

import openai
import pytest
import redis

from inference.gateway import control
from portal.kit import redis as redis_kit
from tests.absent_postgres import absent
from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import ask, holds


def test_without_postgres_a_caller_is_told_when_to_come_back(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    worker(tiny, pieces=["back"])
    asked = {"model": tiny.name, "messages": HELLO, "max_tokens": 8}
    with absent(), pytest.raises(openai.InternalServerError) as refused:
        client(tiny).chat.completions.create(**asked)
    assert refused.value.status_code == 503
    assert refused.value.response.headers["retry-after"] == "1"
    assert ask(client(tiny), tiny).choices[0].message.content == "back"


def lose_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """The first call of an asynchronous function meets a lost connection."""
    real, lost = getattr(owner, name), []

    async def lose(*args: Any, **more: Any) -> Any:
        if not lost:
            lost.append(args)
            raise redis.ConnectionError("lost")
        return await real(*args, **more)

    monkeypatch.setattr(owner, name, lose)


def test_a_client_that_leaves_while_redis_is_away_still_stops_the_run(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    lose_once(monkeypatch, control, "ask_to_stop")
    stream = ask(client(tiny), tiny, stream=True)
    await_that(lambda: hands.open_calls)
    (request,) = hands.open_calls
    hands.write(request, "one")
    next(iter(stream))
    stream.close()
    await_that(lambda: hands.cancelled == [request])
    await_that(usage_events)
    assert holds() == 0


def test_a_hold_that_redis_lost_ends_its_call_as_something_to_try_again(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, stream=True)
    await_that(lambda: hands.open_calls)
    (request,) = hands.open_calls
    redis_kit.client().zrem("holds", request)
    redis_kit.client().delete(f"hold:{request}")
    with pytest.raises(openai.APIError, match="interrupted") as failed:
        list(stream)
    assert failed.value.code == "interrupted"
