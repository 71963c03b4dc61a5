"""Whatever we answer, a client may send back as the next turn: as it came, or as its SDK keeps it."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ParsedChatCompletion
from pydantic import BaseModel

from inference.gateway.schemas import ChatRequest, parse
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers

TEXTS = st.text(max_size=30)
THOUGHTS = {
    "reasoning_content": st.none() | TEXTS, "reasoning": st.none() | TEXTS, "annotations": st.none() | st.just([]),
    "refusal": st.none() | TEXTS, "audio": st.none(), "function_call": st.none(),
    "tool_calls": st.none() | st.just([]), "name": st.none() | TEXTS, "parsed": st.none() | st.just({"a": 1}),
    "provider_specific_fields": st.none(), "logprobs": st.none(),
}  # fmt: skip
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXTS},
    optional=THOUGHTS,  # type: ignore[arg-type]
)


def next_turn(message: dict[str, Any]) -> ChatRequest:
    return parse(ChatRequest, {"model": "acme/tiny", "messages": [*HELLO, message, *HELLO]})


def dumps(message: BaseModel) -> Iterator[dict[str, Any]]:
    """All the ways in which people turn the SDK's message into one to send."""
    yield message.model_dump()
    yield message.model_dump(mode="json", exclude_unset=True)
    yield message.model_dump(exclude_none=True)
    yield message.model_dump(exclude_defaults=True) | {"role": "assistant"}
    yield dict(message)


@given(MESSAGES)
def test_every_message_of_an_answer_is_a_valid_turn(message: dict[str, Any]) -> None:
    turn = next_turn(message).messages[1]
    assert turn.content == (
        message["content"] if message["content"] is not None else message.get("refusal") or ""
    )
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    for kind in (ChatCompletion, ParsedChatCompletion):
        parsed: Any = kind.construct(**answer, choices=[choice])  # as the SDK does: without validation
        for dumped in dumps(parsed.choices[0].message):
            assert next_turn(dumped).messages[1].content == turn.content


def test_thoughts_reach_the_template_and_no_other_server() -> None:
    turn = next_turn({"role": "assistant", "content": "4", "reasoning": "2 and 2"}).messages[1]
    assert turn.for_template() == {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}
    assert turn.for_server() == {"role": "assistant", "content": "4"}


def test_a_refusal_as_a_part_is_text() -> None:
    parts = [{"type": "refusal", "refusal": "No."}]
    assert next_turn({"role": "assistant", "content": parts}).messages[1].content == "No."


def test_the_stock_client_sends_back_what_it_got(offer: Offers, client: Clients, worker: Workers) -> None:
    tiny = offer()
    worker(tiny, pieces=["Well, ", "hello", "!"], reason="stop")
    chat = client(tiny).chat.completions
    asked: Any = {"model": tiny.name, "max_tokens": 5}
    made = chat.create(messages=HELLO, **asked).choices[0].message
    parsed = chat.parse(messages=HELLO, **asked).choices[0].message
    with chat.stream(messages=HELLO, **asked) as stream:
        streamed = stream.get_final_completion().choices[0].message
    for message in (made, parsed, streamed):
        for turn in (message, *dumps(message)):
            history: Any = [*HELLO, turn, *HELLO]
            assert chat.create(messages=history, **asked).choices[0].message.content == "Well, hello!"
