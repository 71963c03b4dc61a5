"""Every refusal of a body names the parameter, says what came and what is allowed."""

import re
from typing import Any

import openai
import pytest

from inference.gateway.errors import CallError, ContextLengthExceeded, describe
from inference.gateway.schemas import parse
from inference.gateway.schemas.predictions import ImageInput, TextInput
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers
from tests.inference.gateway.test_neutral_values import BODIES

BODIES = BODIES | {TextInput: {"text": "Hello"}, ImageInput: {"image": "aGk="}}
WRONG = [
    None, True, False, -3, 0, 10**18, 1.5, 1e300, "", "x", "\0", "y" * 5000, [], [None], ["", 1], [[]], ["a"] * 3000, {},
    {"a": 1}, {"type": "x"}, [{"role": "user"}], [{"role": []}], [{"role": "bot", "content": "x"}], [{"content": [1]}],
    [{"role": "user", "content": [{"type": "image_url"}]}], [{"role": "user", "content": {"a": 1}}],
    [{"role": "user", "content": "x", "foo": 1}], [{"role": "assistant", "content": 5}],
    [{"role": "assistant", "tool_calls": [1], "content": "x"}], {"include_usage": 1}, {"5": 1000}, {"five": 1},
]  # fmt: skip


def refusals(schema: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    found = []
    for name in [*schema.model_fields, *schema.harmless, "foo"]:
        for value in WRONG:
            try:
                parse(schema, BODIES[schema] | {name: value})
            except CallError as refusal:
                found.append((name, value, describe(refusal)["error"]))
    return found


@pytest.mark.parametrize("schema", BODIES)
def test_every_wrong_value_is_told_by_name(schema: Any) -> None:
    told = refusals(schema)
    assert len(told) > 10
    for name, value, error in told:
        about = (name, value, error)
        named = re.split(r"[.\[]", error["param"] or "")[0]
        assert named in schema.model_fields.keys() | schema.harmless.keys() | {"foo"}, about
        assert named in error["message"], about
        assert "for ''" not in error["message"], about
        assert "{{" not in error["message"], about
        assert "Input should" not in error["message"], about
        assert len(error["message"]) < 500, about


@pytest.mark.parametrize("root", [[], "x", 5, True])
def test_a_body_that_is_no_object_is_told_what_it_is(root: Any) -> None:
    for schema in BODIES:
        with pytest.raises(CallError, match="must be a JSON object, but is a"):
            parse(schema, root)


def test_what_lies_deeper_is_named_by_its_path() -> None:
    with pytest.raises(CallError) as caught:
        parse(TextInput, {"text": "x", "top_k": 0}, at="input")
    assert describe(caught.value)["error"]["param"] == "input.top_k"


def test_a_multitude_of_unknown_names_is_told_in_short() -> None:
    with pytest.raises(CallError) as caught:
        parse(TextInput, {"text": "x", **{f"{'n' * 5000}{index}": 1 for index in range(1000)}})
    assert len(str(caught.value)) < 500
    assert "and 995 more" in str(caught.value)


def test_too_large_an_answer_is_told_how_large_it_may_be() -> None:
    large = ContextLengthExceeded(
        limit=1024, prompt=24, completion=2000, what="messages", wanted_by="max_completion_tokens"
    )
    assert str(large).endswith(
        "Please lower max_completion_tokens to 1000 or less, or reduce the length of the messages."
    )
    assert large.param == "max_completion_tokens"
    long = ContextLengthExceeded(limit=1024, prompt=1024, completion=1, what="messages")
    assert str(long).endswith("Please reduce the length of the messages.")
    assert long.param == "messages"


def test_what_is_found_out_after_parsing_is_named_too(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny, vectors = offer(), offer("vectors", task="feature-extraction")
    worker(tiny, pieces=["x"])
    stock = client(tiny)
    long = "word " * 2000
    chat: Any = stock.chat.completions.create
    for call, param in [
        (lambda: chat(model=tiny.name, messages=[{"role": "user", "content": long}]), "messages"),
        (lambda: chat(model=tiny.name, messages=HELLO, max_completion_tokens=5000), "max_completion_tokens"),
        (lambda: chat(model=tiny.name, messages=HELLO, max_tokens=5000), "max_tokens"),
        (lambda: stock.completions.create(model=tiny.name, prompt=long), "prompt"),
        (lambda: stock.completions.create(model=tiny.name, prompt=[10**6]), "prompt"),
        (lambda: stock.embeddings.create(model=vectors.name, input=[long]), "input"),
        (lambda: stock.embeddings.create(model=vectors.name, input=[[10**6]]), "input"),
    ]:  # fmt: skip
        with pytest.raises(openai.BadRequestError) as refused:
            call()
        assert refused.value.param == param, refused.value
