"""A web process confirms each end that it has handed on, and no other: what it dies with costs nothing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from billing.credit import keys, reaper
from inference.gateway.deliveries import Deliveries
from portal.accounts import api_keys
from portal.kit import clock, redis
from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_endings import ask
from tests.inference.gateway.test_retrying import Post, kept_answers, post
from tests.inference.remote.conftest import Remotes, loopback_allowed, remote, speaker

__all__ = ["loopback_allowed", "post", "remote", "speaker"]

LATER = clock.now().replace(year=2100)


def unconfirmed() -> list[str]:
    """The calls that were charged and are not known to be delivered."""
    client: Any = redis.client()
    return [field.decode() for key in client.keys("undelivered:*") for field in client.hkeys(key)]


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web process that takes ends off its stream and hands nothing on."""
    monkeypatch.setattr(Deliveries, "note", lambda self, call: None)


def test_whatever_is_delivered_is_confirmed(
    offer: Offers, client: Clients, worker: Workers, post: Post, remote: Remotes
) -> None:
    tiny, far = offer(), remote()
    worker(tiny, pieces=["one ", "two"])
    ask(client(tiny), tiny)
    list(ask(client(tiny), tiny, stream=True))
    post(tiny)
    ask(client(far), far)
    list(ask(client(far), far, stream=True))
    assert len(usage_events()) == 5
    await_that(lambda: not unconfirmed())
    redis.client().zadd(keys.READERS, dict.fromkeys(redis.client().zrange(keys.READERS, 0, -1), 1))
    reaper.reap()
    assert len(usage_events()) == 5, "nothing was given back"


def test_an_end_that_its_client_does_not_want_any_more_is_confirmed(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = ask(client(tiny), tiny, stream=True)
    await_that(lambda: hands.open_calls)
    hands.write(next(iter(hands.open_calls)), "one", "two")
    await_that(lambda: next(iter(stream)).choices[0].delta.content)
    stream.close()
    await_that(usage_events)
    assert int(usage_events()[0][b"c"]) > 0
    await_that(lambda: not unconfirmed())


@pytest.mark.parametrize("streamed", [False, True])
def test_the_end_of_a_revoked_call_is_confirmed(
    offer: Offers, client: Clients, worker: Workers, streamed: bool
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(lambda: list(ask(client(tiny), tiny, stream=streamed)))
        await_that(lambda: hands.open_calls)
        hands.write(next(iter(hands.open_calls)), "one", "two")
        api_keys.revoke(tiny.buyer.personal_organisation, by=tiny.buyer, key_id=tiny.key.pk)
        with pytest.raises(openai.APIError):
            answer.result(20)
    assert int(usage_events()[0][b"c"]) > 0
    await_that(lambda: not unconfirmed())


@pytest.mark.usefixtures("dying")
def test_the_charge_of_an_end_that_died_with_its_web_process_is_given_back(
    offer: Offers, client: Clients, worker: Workers, remote: Remotes
) -> None:
    tiny, far = offer(), remote()
    worker(tiny, pieces=["one ", "two"])
    ask(client(tiny), tiny)
    ask(client(far), far)
    assert len(unconfirmed()) == 2
    reaper.reap(LATER)
    charged = [int(event[b"c"]) for event in usage_events()]
    assert sorted(charged) == sorted([*(-each for each in charged[:2]), *charged[:2]])
    assert unconfirmed() == []


def test_an_answer_under_a_key_is_confirmed_once_a_retry_would_find_it(
    offer: Offers, worker: Workers, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = offer()
    worker(tiny, pieces=["one ", "two"])
    noted: list[int] = []
    note = Deliveries.note

    def look(self: Deliveries, call: Any) -> None:
        noted.append(len(redis.client().keys("inference:answer:*")))
        note(self, call)

    monkeypatch.setattr(Deliveries, "note", look)
    post(tiny)
    assert kept_answers()
    await_that(lambda: noted)
    assert noted == [1]
    await_that(lambda: not unconfirmed())
