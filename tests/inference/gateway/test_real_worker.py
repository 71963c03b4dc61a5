"""One pass through everything with a real worker and a real tiny engine."""

from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from tests.inference.gateway.conftest import Offer
from tests.inference.gateway.test_calls import HELLO, usage_events
from tests.inference.worker.worker_process import start_worker


def test_every_endpoint_with_a_real_engine(
    offer: Callable[..., Offer], client: Callable[[Offer], openai.OpenAI], tmp_path: Path
) -> None:
    tiny, vectors = offer(), offer("vectors", task="feature-extraction")
    worker = start_worker(tmp_path)
    try:
        worker.await_registered()
        use(client(tiny), tiny.name, vectors.name)
    finally:
        worker.ask_to_stop()
        assert worker.process.wait(40) == 0, worker.log
    outcomes = [event[b"o"] for event in usage_events()]
    assert outcomes == [b"succeeded"] * 7 + [b"failed"], worker.log


def use(client: openai.OpenAI, text: str, vectors: str) -> None:
    greedy = {
        "model": text,
        "messages": HELLO,
        "max_tokens": 12,
        "temperature": 0,
        "logit_bias": {"30": -100},
    }
    whole = client.chat.completions.create(**greedy, logprobs=True, top_logprobs=2)  # type: ignore[call-overload]
    assert whole.usage.completion_tokens == 12
    scored = whole.choices[0].logprobs.content
    assert len(scored) == 12
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in scored)
    assert (
        b"".join(bytes(token.bytes) for token in scored).decode(errors="replace")
        == whole.choices[0].message.content
    )
    chunks = client.chat.completions.create(**greedy, stream=True)  # type: ignore[call-overload]
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    )
    completed = client.completions.create(
        model=text, prompt="the quick", max_tokens=4, logprobs=1, temperature=0
    )
    assert completed.choices[0].logprobs is not None
    assert len(completed.choices[0].logprobs.tokens or []) == 4
    streamed = client.completions.create(
        model=text, prompt="the quick", max_tokens=4, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in streamed) == completed.choices[0].text
    both = client.embeddings.create(model=vectors, input=["a fox", "a dog"])
    assert [len(item.embedding) for item in both.data] == [32, 32]
    floats = client.embeddings.create(model=vectors, input="a fox", encoding_format="float")
    assert (
        abs(sum(a * b for a, b in zip(floats.data[0].embedding, both.data[0].embedding, strict=True)) - 1)
        < 1e-4
    )
    cut_embeddings(client, vectors)


def cut_embeddings(client: openai.OpenAI, vectors: str) -> None:
    cut = client.embeddings.create(model=vectors, input="a fox", dimensions=8)
    assert len(cut.data[0].embedding) == 8
    with pytest.raises(
        openai.BadRequestError, match=r"one of 8, 32 for this model\. You were not charged"
    ) as no:
        client.embeddings.create(model=vectors, input="a fox", dimensions=9)
    assert (no.value.code, no.value.param) == ("input_refused", "dimensions")
