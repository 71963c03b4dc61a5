"""One `Idempotency-Key`, one call: a retry finds the first one's answer and costs nothing."""

import hashlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from inference.gateway.retrying import attempts
from portal.accounts import api_keys
from portal.kit import redis
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers, usage_events
from tests.inference.gateway.test_predictions import image_input, labelled
from tests.inference.gateway.test_revoking import REVOCATIONS

Post = Callable[..., httpx.Response]


@pytest.fixture
def post(gateway: str) -> Post:
    """A chat under an idempotency key, with a bare client."""

    def send(
        offer: Offer, key: str = "order-1", *, path: str = "chat/completions", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {more.pop('api_key', offer.key_text)}", "Idempotency-Key": key}
        body = {
            "model": offer.name,
            **({"messages": HELLO, "max_tokens": 8} if "chat" in path else {}),
            **more,
        }
        return httpx.post(f"{gateway}/{path}", json=body, headers=headers, timeout=20)

    return send


def kept_answers() -> list[bytes]:
    """Keys of the answers that are kept, once there is one."""
    await_that(lambda: redis.client().keys("inference:answer:*"))
    found: list[bytes] = redis.client().keys("inference:answer:*")  # type: ignore[assignment]
    return found


def counting(worker: Workers, offer: Offer) -> Any:
    """A worker that never says the same twice."""
    hands, numbers = worker(offer, pieces=["x"]), itertools.count(1)
    hands.pieces = lambda _: ["answer ", str(next(numbers))]
    return hands


@pytest.mark.parametrize("streamed", [False, True])
def test_a_retry_gets_the_same_answer_and_makes_no_second_event(
    offer: Offers, post: Post, worker: Workers, streamed: bool
) -> None:
    tiny = offer()
    counting(worker, tiny)
    first, second = (post(tiny, stream=streamed) for _ in range(2))
    assert first.status_code == 200, first.text
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    assert len(usage_events()) == 1
    assert post(tiny, key="order-2", stream=streamed).content != first.content


def test_a_prediction_is_made_once(offer: Offers, post: Post, worker: Workers) -> None:
    digits = offer("digits", task="image-classification")
    worker(digits, pieces=[""], output=labelled)
    first, second = (post(digits, path="predictions", input=image_input()) for _ in range(2))
    assert first.status_code == 202, first.text
    assert first.json()["id"] == second.json()["id"]
    await_that(usage_events)
    assert len(usage_events()) == 1


def test_a_client_that_lost_its_patience_finds_the_answer_when_it_retries(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    """With the stock client, which retries by itself after a time-out and after a 409."""
    tiny = offer()
    hands = worker(tiny, pieces=None)
    patient = client(tiny).with_options(timeout=0.7, max_retries=8)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(
            patient.chat.completions.create, model=tiny.name, messages=HELLO, max_tokens=8,
            extra_headers={"Idempotency-Key": "order-1"},
        )  # fmt: skip
        await_that(lambda: hands.open_calls)
        with pytest.raises(TimeoutError):
            answer.result(1.5)
        hands.finish(next(iter(hands.open_calls)), pieces=["late ", "but whole"])
        assert answer.result(20).choices[0].message.content == "late but whole"
    assert [event[b"o"] for event in usage_events()] == [b"succeeded"]
    assert hands.cancelled == []


def test_a_retry_during_the_first_call_is_told_to_wait(offer: Offers, post: Post, worker: Workers) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(post, tiny)
        await_that(lambda: hands.open_calls)
        second = post(tiny)
        hands.finish(next(iter(hands.open_calls)))
        assert first.result(10).status_code == 200
    assert (second.status_code, second.headers["retry-after"]) == (409, "1")
    assert len(usage_events()) == 1


def test_a_key_belongs_to_one_request_of_one_organisation(
    offer: Offers, post: Post, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    counting(worker, tiny)
    first = post(tiny)
    other = post(tiny, temperature=0.5)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    theirs = cast.mate.personal_organisation
    _, stranger = api_keys.issue(theirs, by=cast.mate, name="theirs", scopes=["inference"])
    answer = post(tiny, api_key=stranger)
    assert answer.status_code in (403, 404), "not the outsider's answer"
    assert post(tiny).content == first.content


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_failed_may_be_tried_again(
    offer: Offers, post: Post, worker: Workers, streamed: bool
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(post, tiny, stream=streamed)
        await_that(lambda: hands.open_calls)
        if streamed:
            hands.write(next(iter(hands.open_calls)), "half")
        hands.finish(next(iter(hands.open_calls)), reason="error", error="It broke")
        assert "It broke" in first.result(10).text
    hands.pieces = lambda _: ["whole"]
    again = post(tiny, stream=streamed)
    assert again.status_code == 200
    assert "whole" in again.text
    assert "idempotent-replayed" not in again.headers
    assert [int(event[b"c"]) > 0 for event in usage_events()] == [False, True]


def test_a_refused_call_leaves_its_key_free(offer: Offers, post: Post, worker: Workers) -> None:
    tiny = offer()
    assert post(tiny).status_code == 503, "no worker"
    worker(tiny, pieces=["here"])
    await_that(lambda: post(tiny).status_code == 200)


def test_a_call_whose_web_process_died_is_not_run_again(
    offer: Offers, post: Post, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say whether it was charged, so a second run could be a second charge."""
    monkeypatch.setattr(attempts, "LEASE_SECONDS", 0.001)
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(post, tiny)
        await_that(lambda: hands.open_calls)
        again = post(tiny)
        hands.finish(next(iter(hands.open_calls)))
        first.result(10)
    assert (again.status_code, again.json()["error"]["code"]) == (422, "idempotency_key_interrupted")


def test_an_answer_expires_within_minutes_and_its_call_is_still_not_run_again(
    offer: Offers, post: Post, worker: Workers
) -> None:
    tiny = offer()
    counting(worker, tiny)
    post(tiny)
    (answer,) = kept_answers()
    assert 0 < redis.client().ttl(answer) <= attempts.KEEP_SECONDS == 900
    (entry,) = redis.client().scan_iter(f"{answer.decode().replace('answer', 'idempotency')}")
    assert redis.client().ttl(entry) > 2 * attempts.KEEP_SECONDS
    redis.client().delete(answer)
    again = post(tiny)
    assert (again.status_code, again.json()["error"]["code"]) == (422, "idempotency_answer_dropped")
    assert len(usage_events()) == 1


@pytest.mark.parametrize("revoke", REVOCATIONS)
def test_who_may_not_make_the_call_any_more_gets_no_kept_answer(
    offer: Offers, post: Post, worker: Workers, cast: Cast, revoke: Callable[[Cast, Offer], None]
) -> None:
    tiny = offer()
    counting(worker, tiny)
    first = post(tiny)
    assert kept_answers()
    revoke(cast, tiny)
    for again in (post(tiny), post(tiny, temperature=0.5)):
        assert again.status_code in (401, 403, 404, 422), again.text
        assert "answer 1" in first.text
        assert "answer 1" not in again.text
    assert post(tiny).status_code in (401, 403, 404)


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"model": 7}', b"null"])
def test_a_body_that_names_no_model_is_told_to_wait_while_the_first_one_is_refused(
    gateway: str, offer: Offers, body: bytes
) -> None:
    tiny = offer()
    headers = {"Authorization": f"Bearer {tiny.key_text}", "Idempotency-Key": "odd"}
    headers["Content-Type"] = "application/json"
    digest = hashlib.sha256(b"/v1/chat/completions\0" + body).digest()
    named = hashlib.sha256(b"odd").hexdigest()
    entry = f"inference:idempotency:{tiny.buyer.personal_organisation.pk.hex}:{named}"
    redis.client().hset(entry, mapping={"digest": digest, "until": 2**53})
    answer = httpx.post(f"{gateway}/chat/completions", content=body, headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_key_in_use")


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
def test_a_key_that_is_none_is_refused(offer: Offers, client: Clients, key: str) -> None:
    tiny = offer()
    with pytest.raises(openai.BadRequestError, match="1 to 255 printable"):
        client(tiny).chat.completions.create(
            model=tiny.name, messages=HELLO, extra_headers={"Idempotency-Key": key}
        )
