"""Whatever form a server's answer has, its caller gets all of it that is billed."""

from typing import Any

import openai
import pytest

from tests.inference.remote.conftest import Remotes
from tests.inference.remote.speaker import Asked, Speaker, event, send_json
from tests.inference.remote.test_counting import usage
from tests.inference.remote.test_relayed_calls import Clients, ask, only_event, units

THOUGHT = "They greet me. "
PARTS = [{"type": "text", "text": "Hel"}, {"type": "output_text", "text": "lo"}, {"type": "image_url"}, 7]
THINKING = [
    {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
    {"type": "text", "text": "Hello"},
]
MESSAGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"content": PARTS}, {"content": "Hello"}),
    ({"content": THINKING}, {"content": "Hello", "reasoning_content": THOUGHT}),
    ({"content": "Hello", "reasoning_content": THOUGHT}, {"content": "Hello", "reasoning_content": THOUGHT}),
    ({"content": "Hello", "reasoning": THOUGHT}, {"content": "Hello", "reasoning": THOUGHT}),
    ({"content": "Hello", "reasoning": {"effort": 1}, "reasoning_content": None}, {"content": "Hello"}),
    ({"content": None, "reasoning_content": THOUGHT}, {"content": "", "reasoning_content": THOUGHT}),
    ({"content": None, "refusal": "I will not."}, {"refusal": "I will not."}),
    ({"content": [{"type": "refusal", "refusal": "I will not."}]}, {"refusal": "I will not."}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("sent", "received"), MESSAGES)
def test_parts_reasoning_and_refusals_reach_the_caller(
    remote: Remotes,
    client: Clients,
    speaker: Speaker,
    sent: dict[str, Any],
    received: dict[str, Any],
    stream: bool,
) -> None:
    far = remote()
    speaker.usage = usage(7, 5, reasoning=3)

    async def answer(server: Speaker, asked: Asked, writer: Any) -> None:
        if not asked.body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", **sent}, "finish_reason": "stop"}
            await send_json(writer, {"choices": [choice], "usage": server.usage})
            return
        await server.begin_stream(writer)
        await event(writer, {"choices": [{"index": 0, "delta": sent, "finish_reason": None}]})
        await server.end_stream(asked, writer)

    speaker.behave = answer
    answered = ask(client(far), far, stream=stream, max_tokens=50)
    found = _joined(answered) if stream else answered.choices[0].message.model_dump()
    ignored = ("role", "annotations", "audio", "function_call", "tool_calls")
    assert {
        name: said for name, said in found.items() if said is not None and name not in ignored
    } == received
    assert units(only_event())["output_tokens"] == 5


def _joined(stream: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for piece in stream:
        for choice in piece.choices:
            for name, text in choice.delta.model_dump(exclude_none=True).items():
                said[name] = said.get(name, "") + text
    if "refusal" in said and not said["content"]:
        del said["content"]
    return said


def test_reasoning_tokens_are_told_as_far_as_they_count(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote(endpoint={"hidden_reasoning_tokens": 40})
    speaker.usage = usage(7, 43, reasoning=40)
    answer = ask(client(far), far, max_tokens=60)
    assert answer.usage.completion_tokens == 43
    assert answer.usage.completion_tokens_details.reasoning_tokens == 40
    assert units(only_event())["output_tokens"] == 43


ENTRY = {"token": "\ufffd", "logprob": -0.5, "bytes": [240, 159], "top_logprobs": []}


def test_tokens_without_text_keep_their_logprobs(remote: Remotes, client: Clients, speaker: Speaker) -> None:
    far = remote()

    async def split(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.begin_stream(writer)
        for text, entry in (("", ENTRY), ("😀", ENTRY | {"bytes": [152, 128]}), ("", ENTRY | {"token": ""})):
            choice = {"index": 0, "delta": {"content": text}, "logprobs": {"content": [entry]}}
            await event(writer, {"choices": [choice]})
        await server.end_stream(asked, writer)

    speaker.behave = split
    entries = [
        entry
        for piece in ask(client(far), far, stream=True, logprobs=True, top_logprobs=0)
        for choice in piece.choices
        for entry in (choice.logprobs.content if choice.logprobs else [])
    ]
    assert [entry.bytes for entry in entries] == [[240, 159], [152, 128], [240, 159]]


@pytest.mark.parametrize(
    "entry",
    [{"bytes": 10**9}, {"bytes": [999]}, {"token": "x" * 5000}, {"token": None}, {"logprob": "-0.5"}, {"logprob": True},
     {"top_logprobs": 7}],
)  # fmt: skip
def test_what_is_no_logprob_breaks_the_answer_and_nothing_else(
    remote: Remotes, client: Clients, speaker: Speaker, entry: dict[str, Any]
) -> None:
    far = remote()

    async def answer(server: Speaker, asked: Asked, writer: Any) -> None:
        whole = server.whole(asked)
        whole["choices"][0]["logprobs"] = {"content": [ENTRY | entry]}
        await send_json(writer, whole)

    speaker.behave = answer
    stock = client(far)
    if entry == {"bytes": 10**9}:
        (token,) = ask(stock, far, logprobs=True).choices[0].logprobs.content
        assert bytes(token.bytes) == "\ufffd".encode()
        return
    with pytest.raises(openai.InternalServerError) as failed:
        ask(stock, far, logprobs=True)
    assert failed.value.status_code == 502


def test_no_more_alternatives_come_than_were_asked_for(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()

    async def answer(server: Speaker, asked: Asked, writer: Any) -> None:
        whole = server.whole(asked)
        others = [{"token": str(n), "logprob": -1.5 - n} for n in range(300)]
        whole["choices"][0]["logprobs"] = {"content": [ENTRY | {"top_logprobs": others}]}
        await send_json(writer, whole)

    speaker.behave = answer
    stock = client(far)
    (token,) = ask(stock, far, logprobs=True, top_logprobs=1).choices[0].logprobs.content
    assert [other.token for other in token.top_logprobs] == ["0"]
    assert ask(stock, far).choices[0].logprobs is None


def test_of_several_choices_the_first_is_the_answer(
    remote: Remotes, client: Clients, speaker: Speaker
) -> None:
    far = remote()

    async def interleave(server: Speaker, asked: Asked, writer: Any) -> None:
        await server.begin_stream(writer)
        for text in server.pieces:
            await event(writer, {"choices": [{"index": 1, "delta": {"content": "x" * 50}}]})
            await server.piece(asked, writer, text)
        await event(writer, {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]})
        await server.end_stream(asked, writer)

    speaker.behave = interleave
    chunks = list(ask(client(far), far, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello, world"
    assert units(only_event())["output_tokens"] == 3
