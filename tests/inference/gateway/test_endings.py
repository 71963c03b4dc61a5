"""However a call ends, its hold goes, its usage is recorded once, and the caller hears the truth."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgpack
import openai
import pytest

from benchmarks.stand_in import _request_in
from billing.credit import keys
from inference import protocol
from inference.gateway import waiting, watch
from marketplace import subscribing
from portal.accounts import api_keys
from portal.kit import ids, redis
from tests.conftest import make_user
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers, usage_events


def holds() -> int:
    return int(redis.client().zcard(keys.HOLDS))


def subscribe_another(offer: Offer) -> Offer:
    """The same version, bought by somebody else on the same plan."""
    buyer = make_user("another")
    subscription = subscribing.subscribe(
        buyer.personal_organisation, offer.subscription.plan_version.plan, by=buyer, spend_cap=10**12
    )
    key, text = api_keys.issue(buyer.personal_organisation, by=buyer, name="test", scopes=["inference"])
    return replace(offer, subscription=subscription, key=key, key_text=text, buyer=buyer)


def ask(client: openai.OpenAI, offer: Offer, **more: Any) -> Any:
    return client.chat.completions.create(model=offer.name, messages=HELLO, max_tokens=8, **more)


def test_a_client_that_leaves_a_stream_stops_the_run_and_pays_what_was_made(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = ask(client(tiny), tiny, stream=True)
    await_that(lambda: hands.open_calls)
    (request,) = hands.open_calls
    hands.write(request, "one", "two")
    assert [next(iter(stream)).choices[0].delta.content for _ in range(2)] == ["", "onetwo"]
    stream.close()
    await_that(lambda: hands.cancelled == [request])
    await_that(usage_events)
    (event,) = usage_events()
    assert event[b"o"] == b"cancelled"
    assert msgpack.unpackb(event[b"q"])["output_tokens"] == 3
    assert int(event[b"c"]) > 0
    assert holds() == 0


def test_a_client_that_leaves_before_an_unstreamed_answer_stops_the_run(
    offer: Offers, gateway: str, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    body = json.dumps({"model": tiny.name, "messages": HELLO, "max_tokens": 8})
    connection = HTTPConnection(urlsplit(gateway).netloc)
    headers = {"Authorization": f"Bearer {tiny.key_text}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    await_that(lambda: hands.open_calls)
    connection.close()
    await_that(lambda: hands.cancelled)
    await_that(usage_events)
    assert usage_events()[0][b"o"] == b"cancelled"


def test_a_client_that_leaves_before_its_call_begins_pays_nothing(
    offer: Offers, gateway: str, worker: Workers
) -> None:
    tiny = offer()
    worker(tiny, loading=True)
    body = {"model": tiny.name, "messages": HELLO, "max_tokens": 8, "stream": True}
    headers = {"Authorization": f"Bearer {tiny.key_text}"}
    with httpx.stream(
        "POST", f"{gateway}/chat/completions", json=body, headers=headers, timeout=10
    ) as answer:
        assert answer.status_code == 200
        # The iterator is kept: httpx hangs up when one is dropped half read.
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        assert holds() == 1
    await_that(lambda: holds() == 0)
    (event,) = usage_events()
    assert (event[b"o"], int(event[b"c"])) == (b"cancelled", 0)
    assert redis.client().keys("inference:payload:*") == []


def test_a_dead_worker_fails_its_calls_soon_and_free_of_charge(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = iter(ask(client(tiny), tiny, stream=True))
    await_that(lambda: hands.open_calls)
    hands.write(next(iter(hands.open_calls)), "one")
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "one"]
    hands.stop()
    started = time.monotonic()
    with pytest.raises(openai.APIError, match="stopped responding"):
        list(stream)
    assert time.monotonic() - started < protocol.WORKER_LEASE_SECONDS + 2
    (event,) = usage_events()
    assert (event[b"o"], int(event[b"c"])) == (b"failed", 0)
    assert msgpack.unpackb(event[b"x"])["reason"] == "worker_lost"
    assert holds() == 0
    worker(tiny, pieces=["back"])
    await_that(lambda: redis.client().exists(protocol.WORKERS))
    assert ask(client(tiny), tiny).choices[0].message.content == "back"


def test_a_message_lost_with_a_worker_is_sent_again(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    thief = worker(tiny, loading=True)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client(tiny), tiny)
        queue = protocol.queue_name(tiny.version.pk.hex)
        await_that(lambda: redis.client().rpop(queue))
        thief.stop()
        worker(tiny, pieces=["found"])
        assert answer.result(20).choices[0].message.content == "found"
    assert len(usage_events()) == 1


def pop(offer: Offer) -> bytes | None:
    """The next message of the version's queue, as a worker fetches it."""
    message: Any = redis.client().rpop(protocol.queue_name(offer.version.pk.hex))
    return message


def test_a_message_lost_while_others_flow_is_sent_again(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, loading=True, pieces=["found"])
    queue = protocol.queue_name(tiny.version.pk.hex)
    shared = client(tiny)
    with ThreadPoolExecutor(64) as threads:
        lost = threads.submit(ask, shared, tiny)
        await_that(lambda: pop(tiny))
        others = []
        deadline = time.monotonic() + 15
        # From here on the queue is never empty and never stands still.
        while not lost.done() and time.monotonic() < deadline:
            others.append(threads.submit(ask, shared, tiny))
            time.sleep(0.3)
            while redis.client().llen(queue) > 2:
                hands.run(tiny.version.pk.hex, [_request_in(pop(tiny))])  # type: ignore[arg-type]
        was_found = lost.done()
        payloads: Any = redis.client().keys("inference:payload:*")
        hands.run(tiny.version.pk.hex, [key.decode().rpartition(":")[2] for key in payloads])
        assert was_found, "overtaken by all others"
        assert {answer.result(10).choices[0].message.content for answer in [lost, *others]} == {"found"}
    assert len(usage_events()) == len(others) + 1


def test_messages_that_only_wait_are_not_repeated(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    hands = worker(tiny, loading=True, pieces=["at last"])
    queue = protocol.queue_name(tiny.version.pk.hex)
    with ThreadPoolExecutor() as threads:
        answers = []
        for _ in range(3):
            answers.append(threads.submit(ask, client(tiny), tiny))
            time.sleep(2 * watch.RESEND_SECONDS / 3)
        time.sleep(watch.RESEND_SECONDS)
        assert redis.client().llen(queue) == 3
        hands.loading = False
        assert {answer.result(10).choices[0].message.content for answer in answers} == {"at last"}


def test_a_failed_run_says_why_and_costs_nothing(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client(tiny), tiny)
        await_that(lambda: hands.open_calls)
        hands.finish(next(iter(hands.open_calls)), reason="error", error="The numbers overflowed")
        with pytest.raises(
            openai.InternalServerError, match=r"The numbers overflowed\. You were not charged"
        ):
            answer.result(10)
    assert int(usage_events()[0][b"c"]) == 0


def test_what_a_model_can_never_run_is_the_callers_mistake(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client(tiny), tiny)
        await_that(lambda: hands.open_calls)
        hands.finish(next(iter(hands.open_calls)), reason="error", error="Too long", refused=True)
        with pytest.raises(openai.BadRequestError, match=r"Too long\. You were not charged") as refused:
            answer.result(10)
    assert (refused.value.type, refused.value.code) == ("invalid_request_error", "input_refused")
    assert int(usage_events()[0][b"c"]) == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_a_failed_call_is_told_by_the_id_that_its_record_has(
    offer: Offers, client: Clients, worker: Workers, streamed: bool
) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client(tiny), tiny, stream=streamed)
        await_that(lambda: hands.open_calls)
        (request,) = hands.open_calls
        hands.finish(request, reason="error", error="It broke")
        with pytest.raises(openai.InternalServerError) as failed:
            answer.result(10)
    assert failed.value.response.headers["x-request-id"] == ids.public("req", hands_id(request))
    assert failed.value.body["request_id"] == ids.public("req", hands_id(request))  # type: ignore[index]


def test_a_cold_version_is_wanted_and_its_caller_sees_it_load(
    offer: Offers, gateway: str, worker: Workers
) -> None:
    tiny = offer()
    hands = worker(tiny, loading=True, pieces=["warm"])
    body = {"model": tiny.name, "messages": HELLO, "max_tokens": 8, "stream": True}
    headers = {"Authorization": f"Bearer {tiny.key_text}"}
    lines: list[str] = []
    with httpx.stream(
        "POST", f"{gateway}/chat/completions", json=body, headers=headers, timeout=20
    ) as answer:
        for line in answer.iter_lines():
            lines.append(line)
            if line.startswith(": loading model"):
                wanted = redis.client().zscore(protocol.WANTED, tiny.version.pk.hex)
                assert time.time() * 1000 - wanted < 3000
                hands.loading = False
    assert any(line.startswith(": loading model") for line in lines)
    assert any('"warm"' in line for line in lines)
    assert lines[-2] == "data: [DONE]"


def test_a_version_that_cannot_be_loaded_says_why(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    worker(tiny, loading=True)
    redis.client().set(protocol.load_error_key(tiny.version.pk.hex), "its header is broken", ex=60)
    with pytest.raises(openai.APIStatusError, match="its header is broken") as failed:
        ask(client(tiny), tiny)
    assert failed.value.status_code == 503
    assert holds() == 0


def test_without_a_worker_that_fits_calls_are_refused_at_once(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    with pytest.raises(openai.InternalServerError, match="No worker is alive") as none:
        ask(client(tiny), tiny)
    assert none.value.response.headers["retry-after"] == "5"
    small = worker(memory_bytes=1000)
    await_that(lambda: redis.client().exists(protocol.worker_key(small.id)))
    time.sleep(3 * watch.LOOK_SECONDS)
    with pytest.raises(openai.InternalServerError, match="the largest worker has 1 kB"):
        ask(client(tiny), tiny)
    assert usage_events() == []


def test_an_overlong_queue_refuses_with_retry_after(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUEUE_LIMIT", 1)
    tiny = offer()
    worker(tiny, loading=True)
    first = ask(client(tiny), tiny, stream=True)
    with pytest.raises(openai.InternalServerError) as refused:
        ask(client(tiny), tiny)
    assert (refused.value.status_code, refused.value.code) == (503, "model_overloaded")
    assert int(refused.value.response.headers["retry-after"]) >= 1
    await_that(lambda: holds() == 1)
    (event,) = usage_events()
    # Not "failed": the model was never asked, and its page must not call it degraded.
    assert (event[b"o"], int(event[b"c"])) == (b"failed", 0)
    assert msgpack.unpackb(event[b"x"])["reason"] == "queue_full"
    assert msgpack.unpackb(event[b"x"])["finish_reason"] == "refused"
    first.close()


def test_holds_of_long_calls_are_renewed(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = ask(client(tiny), tiny, stream=True)
    await_that(lambda: hands.open_calls)
    (request,) = hands.open_calls
    first = redis.client().zscore(keys.HOLDS, request)
    await_that(lambda: redis.client().zscore(keys.HOLDS, request) > first, seconds=10)
    # The reaper knows by now which worker to tell, should the web process die.
    control = redis.client().hget(keys.hold(hands_id(request)), "control")
    assert control == protocol.control_stream(hands.id).encode()
    hands.finish(request)
    assert list(stream)


def hands_id(request: str) -> Any:
    from uuid import UUID

    return UUID(hex=request)


def test_sixty_four_streams_at_once_are_all_right_and_all_recorded(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    worker(tiny, pieces=["a", "b", "c"])
    shared = client(tiny)

    def stream(_: int) -> tuple[str, int]:
        text, cost = "", 0
        for chunk in ask(shared, tiny, stream=True, stream_options={"include_usage": True}):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            cost += chunk.usage.cost_micro if chunk.usage else 0
        return text, cost

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(stream, range(64)))
    assert {text for text, _ in answers} == {"abc"}
    events = usage_events()
    assert len(events) == 64
    assert sum(cost for _, cost in answers) == sum(int(event[b"c"]) for event in events) > 0
    assert holds() == 0


def test_who_floods_a_queue_leaves_places_to_others(
    offer: Offers, client: Clients, worker: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUEUE_LIMIT", 9)
    flooder = offer()
    worker(flooder, loading=True)
    quiet = subscribe_another(flooder)
    flooding, resting = client(flooder), client(quiet)
    with ThreadPoolExecutor() as threads:
        refusals = []
        for _ in range(9):
            threads.submit(ask, flooding, flooder)
            time.sleep(0.1)
        await_that(lambda: holds() == 5)
        with pytest.raises(openai.RateLimitError) as refused:
            ask(flooding, flooder)
        refusals.append(refused.value)
        threads.submit(ask, resting, quiet)
        await_that(lambda: holds() == 6)
        redis.client().set(protocol.load_error_key(flooder.version.pk.hex), "enough", ex=60)
    assert [int(each.response.headers["retry-after"]) for each in refusals] == [waiting.RETRY_SECONDS]
