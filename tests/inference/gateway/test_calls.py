"""Calls with the stock client, through admission, Redis and a worker that speaks the real protocol."""

from collections.abc import Callable
from typing import Any

import msgpack
import openai
import pytest

from benchmarks.stand_in import StandIn
from billing.credit import keys
from portal.kit import redis
from tests.inference.gateway.conftest import Offer, await_that

HELLO: Any = [{"role": "user", "content": "Hello there"}]
Offers = Callable[..., Offer]
Clients = Callable[[Offer], openai.OpenAI]
Workers = Callable[..., StandIn]


def usage_events() -> list[dict[bytes, bytes]]:
    return [fields for _, fields in redis.client().xrange(keys.USAGE_STREAM)]


def test_a_chat_is_answered_metered_and_priced(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    worker(tiny, pieces=["Well, ", "hello", "!"])
    raw = client(tiny).chat.completions.with_raw_response.create(
        model=tiny.name, messages=HELLO, max_tokens=5
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "Well, hello!"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    micro = answer.usage.prompt_tokens * 1000 + 3 * 2000
    assert answer.usage.cost_micro == micro  # type: ignore[attr-defined]
    assert f"{answer.usage.cost:.10f}" == f"{micro / 1e8:.10f}"  # type: ignore[attr-defined]
    assert raw.headers["x-request-id"].startswith("req_")
    assert float(raw.headers["x-mercato-cost"]) == pytest.approx(micro / 1e8)
    (event,) = usage_events()
    assert event[b"o"] == b"succeeded"
    assert int(event[b"c"]) == micro
    assert msgpack.unpackb(event[b"q"])["output_tokens"] == 3


def test_a_stream_has_openais_shape_and_the_same_price(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    worker(tiny, pieces=["Well, ", "hello", "!"])
    whole = client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=5)
    chunks = list(
        client(tiny).chat.completions.create(
            model=tiny.name, messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Well, hello!"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + [
        "length"
    ]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.model_dump() == whole.usage.model_dump()
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_pieces_reach_the_client_as_they_come(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=None)
    stream = iter(
        client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=5, stream=True)
    )
    await_that(lambda: hands.open_calls)
    (request,) = hands.open_calls
    hands.write(request, "one")
    assert next(stream).choices[0].delta.role == "assistant"
    assert next(stream).choices[0].delta.content == "one"
    hands.write(request, "two")
    assert next(stream).choices[0].delta.content == "two"
    hands.finish(request, pieces=["end"])
    assert [chunk.choices[0].delta.content for chunk in stream] == ["end", None]


def test_a_completion_echoes_and_takes_tokens(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    hands = worker(tiny, pieces=[" indeed"])
    create = client(tiny).completions.create
    assert create(model=tiny.name, prompt="Yes", echo=True).choices[0].text == "Yes indeed"
    assert create(model=tiny.name, prompt=[60, 61]).choices[0].text == " indeed"
    assert hands.payloads[-1]["body"]["prompt_ids"] == [60, 61]
    assert hands.payloads[-1]["body"]["sampling"] == {"max_tokens": 16}
    streamed = create(model=tiny.name, prompt="Yes", echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "Yes indeed"


def test_embeddings_come_as_floats_and_as_base64(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer(task="feature-extraction")
    vector = b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    worker(tiny, pieces=[""], output=lambda payload: {"embeddings": [vector] * len(payload["body"]["items"])})
    for encoding in ("float", "base64"):
        answer = client(tiny).embeddings.create(model=tiny.name, input=["a", "b c"], encoding_format=encoding)  # type: ignore[arg-type]
        assert len(answer.data) == 2
    # The stock client asks for base64 by itself, and decodes it.
    answer = client(tiny).embeddings.create(model=tiny.name, input="a")
    assert answer.data[0].embedding == [1.0, 2.0]
    assert answer.usage.prompt_tokens > 0


def test_models_are_listed_with_price_and_state(
    offer: Offers, client: Clients, worker: Workers, gateway: str
) -> None:
    tiny = offer()
    (model,) = client(tiny).models.list().data
    assert (model.id, model.owned_by) == ("acme/tiny", "acme")
    assert model.status == "down", "no worker is there"  # type: ignore[attr-defined]
    assert model.pricing["prompt"] == "0.00001"  # type: ignore[attr-defined]
    worker(tiny, pieces=["x"])
    await_that(lambda: client(tiny).models.retrieve("acme/tiny").status == "live")  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client(tiny).models.retrieve("acme/other")


def test_refusals_are_openais(offer: Offers, client: Clients, worker: Workers, gateway: str) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions.create
    with pytest.raises(openai.NotFoundError) as missing:
        ask(model="acme/none", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as long:
        ask(model=tiny.name, messages=[{"role": "user", "content": "word " * 2000}])
    assert long.value.code == "context_length_exceeded"
    assert "maximum context length is 1024 tokens" in long.value.message
    with pytest.raises(openai.BadRequestError) as tools:
        ask(model=tiny.name, messages=HELLO, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (tools.value.code, tools.value.param) == ("unsupported_parameter", "tools")
    with pytest.raises(openai.AuthenticationError) as wrong:
        openai.OpenAI(base_url=gateway, api_key="mk_wrong", max_retries=0).models.list()
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as task:
        client(tiny).embeddings.create(model=tiny.name, input="a")
    assert task.value.code == "unsupported_model"
    with pytest.raises(openai.BadRequestError) as biased:
        ask(model=tiny.name, messages=HELLO, logit_bias={"999999": 1})
    assert biased.value.param == "logit_bias"
    assert usage_events() == []


def test_a_revoked_key_stops_in_its_next_call(offer: Offers, client: Clients, worker: Workers) -> None:
    from portal.accounts import api_keys

    tiny = offer()
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions.create
    ask(model=tiny.name, messages=HELLO, max_tokens=2)
    api_keys.revoke(tiny.buyer.personal_organisation, by=tiny.buyer, key_id=tiny.key.pk)
    with pytest.raises(openai.AuthenticationError):
        ask(model=tiny.name, messages=HELLO, max_tokens=2)


def test_limits_say_what_limits_and_when_to_come_back(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer(requests_per_minute=2)
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions
    raw = ask.with_raw_response.create(model=tiny.name, messages=HELLO, max_tokens=2)
    assert (raw.headers["x-ratelimit-limit-requests"], raw.headers["x-ratelimit-remaining-requests"]) == (
        "2",
        "1",
    )
    ask.create(model=tiny.name, messages=HELLO, max_tokens=2)
    with pytest.raises(openai.RateLimitError) as limited:
        ask.create(model=tiny.name, messages=HELLO, max_tokens=2)
    assert limited.value.code == "rate_limit_exceeded"
    assert 1 <= int(limited.value.response.headers["retry-after"]) <= 60


def test_beyond_the_spend_cap_there_is_no_quota(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer(spend_cap=50_000)
    worker(tiny, pieces=["x"])
    with pytest.raises(openai.RateLimitError) as exhausted:
        client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=100)
    assert (exhausted.value.code, exhausted.value.type) == ("insufficient_quota", "insufficient_quota")
    assert usage_events() == []
    client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)


@pytest.mark.parametrize("name", ["a/b\0", "\0"])
def test_a_name_that_nothing_can_have_is_unknown(offer: Offers, client: Clients, name: str) -> None:
    stock = client(offer())
    with pytest.raises(openai.NotFoundError):
        stock.chat.completions.create(model=name, messages=HELLO)
    with pytest.raises(openai.NotFoundError):
        stock.models.retrieve(name)
