"""The stock `openai` client against the running site."""

import math

import httpx
import openai
import pytest

from tests.journeys.conftest import Market

pytestmark = pytest.mark.stack
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def client(market: Market) -> openai.OpenAI:
    return market.consumer.client()


def test_chat_answers_with_usage_and_cost(client: openai.OpenAI, market: Market) -> None:
    answer = client.chat.completions.create(model=market.text, messages=HELLO, max_tokens=12, temperature=0)
    assert answer.model == market.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert answer.usage.cost >= 0


def test_a_stream_says_the_same_as_the_plain_call(client: openai.OpenAI, market: Market) -> None:
    def ask(**more):
        return client.chat.completions.create(
            model=market.text, messages=HELLO, max_tokens=24, temperature=0, **more
        )

    plain = ask()
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == plain.usage.prompt_tokens
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert len({chunk.id for chunk in chunks}) == 1


def test_seeds_repeat_and_temperatures_differ(client: openai.OpenAI, market: Market) -> None:
    def ask(seed: int) -> str | None:
        answer = client.chat.completions.create(
            model=market.text, messages=HELLO, max_tokens=24, temperature=1.5, seed=seed
        )
        return answer.choices[0].message.content

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_stop_strings_end_the_text_before_them(client: openai.OpenAI, market: Market) -> None:
    whole = client.chat.completions.create(model=market.text, messages=HELLO, max_tokens=40, temperature=0)
    text = whole.choices[0].message.content
    stop = text[len(text) // 2 :][:3]
    cut = client.chat.completions.create(
        model=market.text, messages=HELLO, max_tokens=40, temperature=0, stop=[stop]
    )
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == text[: text.index(stop)]


def test_logprobs_are_probabilities(client: openai.OpenAI, market: Market) -> None:
    answer = client.chat.completions.create(
        model=market.text, messages=HELLO, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3
    )
    content = answer.choices[0].logprobs.content
    assert len(content) == 5
    for token in content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-4)
        assert sum(math.exp(other.logprob) for other in token.top_logprobs) <= 1.0001


def test_completions_continue_a_text(client: openai.OpenAI, market: Market) -> None:
    answer = client.completions.create(
        model=market.text, prompt="the quick brown", max_tokens=8, temperature=0
    )
    assert answer.object == "text_completion"
    assert answer.usage.completion_tokens == 8
    streamed = client.completions.create(
        model=market.text, prompt="the quick brown", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == answer.choices[0].text


def test_embeddings_are_unit_vectors_in_either_encoding(client: openai.OpenAI, market: Market) -> None:
    texts = ["hello there", "a rather longer sentence about foxes"]
    plain = client.embeddings.create(model=market.embedding, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=market.embedding, input=texts)
    assert [item.index for item in plain.data] == [0, 1]
    for one, other in zip(plain.data, packed.data, strict=True):
        assert math.isclose(sum(x * x for x in one.embedding), 1, abs_tol=1e-4)
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert plain.usage.prompt_tokens == plain.usage.total_tokens > 4


def test_models_are_listed_and_found(client: openai.OpenAI, market: Market) -> None:
    assert {market.text, market.embedding} <= {model.id for model in client.models.list()}
    assert client.models.retrieve(market.text).owned_by == market.provider.organisation


def test_a_wrong_key_is_an_authentication_error(market: Market) -> None:
    with pytest.raises(openai.AuthenticationError) as refusal:
        market.consumer.client("mk_wrong").models.list()
    assert refusal.value.code == "invalid_api_key"


def test_a_revoked_key_stops_at_once(market: Market) -> None:
    client = market.consumer.client()
    client.chat.completions.create(model=market.text, messages=HELLO, max_tokens=1)
    newest = market.consumer.call("GET", "/api/keys/")["results"][0]["id"]
    market.consumer.call("DELETE", f"/api/keys/{newest}/")
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=market.text, messages=HELLO, max_tokens=1)


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="nobody/nothing", messages=HELLO)
    assert refusal.value.code == "model_not_found"


def test_a_model_without_subscription_is_refused(market: Market) -> None:
    stranger = market.stack.sign_up("stranger@example.com")
    with pytest.raises(openai.PermissionDeniedError):
        stranger.client().chat.completions.create(model=market.text, messages=HELLO, max_tokens=1)


def test_over_quota_is_refused_and_says_what_is_left(client: openai.OpenAI, market: Market) -> None:
    client.chat.completions.create(model=market.tight, messages=HELLO, max_tokens=30)
    with pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model=market.tight, messages=HELLO, max_tokens=30)
    assert refusal.value.code == "insufficient_quota"
    assert "10" in refusal.value.message
    client.chat.completions.create(model=market.tight, messages=HELLO, max_tokens=10)


def test_too_long_a_prompt_is_refused_with_the_numbers(client: openai.OpenAI, market: Market) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(
            model=market.text, messages=[{"role": "user", "content": "fox " * 3000}], max_tokens=5
        )
    assert refusal.value.code == "context_length_exceeded"
    assert "1024" in refusal.value.message


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"temperature": 9}, "temperature"),
        ({"top_p": "high"}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"foo": 1}, "foo"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    client: openai.OpenAI, market: Market, body: dict[str, object], parameter: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.post(
            "/chat/completions",
            body={"model": market.text, "messages": HELLO, **body},
            cast_to=httpx.Response,
        )
    assert parameter in (refusal.value.param or "")


def test_bad_json_is_refused(market: Market) -> None:
    answer = httpx.post(
        f"{market.stack.url}/v1/chat/completions",
        content=b'{"model": ',
        headers={
            "Authorization": f"Bearer {market.consumer.issue_key()}",
            "Content-Type": "application/json",
        },
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_answers_carry_ids_and_limits(market: Market, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=market.text, messages=HELLO, max_tokens=1)
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["content-type"].startswith("application/json")
