"""Bodies are OpenAI's: what we honour is checked, what we cannot honour is refused by name."""

import base64
import textwrap
from typing import Any

import pytest

from inference.gateway.errors import CallError, InvalidRequest, describe
from inference.gateway.schemas import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    PredictionRequest,
    parse,
)
from inference.gateway.schemas.predictions import ImageInput

HELLO = {"model": "acme/tiny", "messages": [{"role": "user", "content": "Hello"}]}


def refusal_of(schema: Any, body: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(CallError) as caught:
        parse(schema, body)
    refusal: dict[str, Any] = describe(caught.value)["error"]
    return refusal


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]), ("tool_choice", "required"), ("n", 2),
        ("functions", [{"name": "f"}]), ("function_call", {"name": "f"}), ("audio", {"voice": "a", "format": "mp3"}),
        ("modalities", ["text", "audio"]), ("prediction", {"type": "content", "content": "x"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}), ("response_format", {"type": "json_object"}),
        ("reasoning_effort", "high"), ("service_tier", "priority"), ("web_search_options", {}),
        ("verbosity", "low"), ("moderation", {"model": "x"}), ("n", True),
    ],
)  # fmt: skip
def test_parameters_that_would_change_the_result_are_refused_by_name(name: str, value: Any) -> None:
    refusal = refusal_of(ChatRequest, HELLO | {name: value})
    assert (refusal["code"], refusal["param"]) == ("unsupported_parameter", name)


def test_a_repetition_penalty_that_no_model_survives_is_refused() -> None:
    assert refusal_of(ChatRequest, HELLO | {"repetition_penalty": 1e-40})["param"] == "repetition_penalty"


def test_every_parameter_that_the_stock_client_sends_is_known() -> None:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase as Chat
    from openai.types.completion_create_params import CompletionCreateParamsBase as Completion
    from openai.types.embedding_create_params import EmbeddingCreateParams

    for schema, typed in (
        (ChatRequest, Chat),
        (CompletionRequest, Completion),
        (EmbeddingRequest, EmbeddingCreateParams),
    ):
        known = schema.model_fields.keys() | schema.harmless.keys() | {"stream"}
        assert typed.__annotations__.keys() - known == set()


def test_unknown_parameters_are_refused_in_openai_words() -> None:
    refusal = refusal_of(ChatRequest, HELLO | {"temprature": 1})
    expected = "Unrecognized request argument supplied: temprature. Did you mean 'temperature'?"
    assert refusal["message"] == expected
    assert (refusal["code"], refusal["param"]) == ("unknown_parameter", "temprature")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("temperature", 2.1, "decimal_above_max_value"), ("temperature", -0.1, "decimal_below_min_value"),
        ("temperature", "1", "invalid_type"), ("temperature", True, "invalid_type"),
        ("top_p", 1.5, "decimal_above_max_value"), ("frequency_penalty", -3, "integer_below_min_value"),
        ("presence_penalty", 2.5, "decimal_above_max_value"), ("repetition_penalty", 0, "integer_below_min_value"),
        ("max_tokens", 0, "integer_below_min_value"), ("max_tokens", 1.5, "invalid_type"), ("seed", 2**63, "integer_above_max_value"),
        ("top_logprobs", 21, "integer_above_max_value"), ("logit_bias", {"x": 1}, "invalid_value"),
        ("stop", ["a", "b", "c", "d", "e"], "invalid_value"), ("stop", [""], "invalid_value"),
        ("stream", "yes", "invalid_type"), ("messages", [], "invalid_value"), ("messages", "hi", "invalid_type"),
        ("stream_options", {"include_usage": True}, "invalid_value"), ("model", "", "invalid_value"),
    ],
)  # fmt: skip
def test_values_out_of_openais_ranges_and_types_are_refused(name: str, value: Any, code: str) -> None:
    refusal = refusal_of(ChatRequest, HELLO | {name: value})
    assert refusal["code"] == code, refusal
    assert refusal["type"] == "invalid_request_error"


def test_a_range_refusal_quotes_the_range_and_the_value() -> None:
    refusal = refusal_of(ChatRequest, HELLO | {"temperature": 3.5})
    expected = (
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3.5 instead."
    )
    assert refusal["message"] == expected


def test_bias_out_of_range_names_the_token() -> None:
    assert refusal_of(ChatRequest, HELLO | {"logit_bias": {"5": 101}})["param"] == "logit_bias.5"


def test_missing_parameters_are_named() -> None:
    refusal = refusal_of(ChatRequest, {"model": "acme/tiny"})
    assert (refusal["code"], refusal["param"]) == ("missing_required_parameter", "messages")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x", "tool_call_id": "1"}, "messages[0].role"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "messages[0].content[0]",
        ),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, "messages[0].tool_calls"),
        ({"role": "assistant", "content": None, "audio": {"id": "1"}}, "messages[0].audio"),
    ],
)
def test_messages_that_need_more_than_text_are_refused(message: dict[str, Any], param: str) -> None:
    refusal = refusal_of(ChatRequest, {"model": "m", "messages": [message]})
    assert (refusal["code"], refusal["param"]) == ("unsupported_parameter", param)


def test_text_parts_are_joined_and_developer_becomes_system() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    body = {"model": "m", "messages": [{"role": "developer", "content": parts}]}
    assert parse(ChatRequest, body).messages[0].for_template() == {"role": "system", "content": "one\ntwo"}


def test_both_names_of_the_token_limit_at_once_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at the same time"):
        parse(ChatRequest, HELLO | {"max_tokens": 1, "max_completion_tokens": 2})


def test_sampling_carries_what_was_asked_and_nothing_else() -> None:
    asked = parse(
        ChatRequest, HELLO | {"temperature": 0, "stop": "x", "logit_bias": {"7": -100}, "top_k": -1}
    )
    sampling = asked.sampling(max_tokens=5, logprobs=asked.alternatives)
    assert sampling == {"temperature": 0, "stop": ["x"], "logit_bias": {7: -100}, "max_tokens": 5}


def test_completions_take_one_prompt_as_text_or_tokens() -> None:
    for prompt, expected in (("a", "a"), (["a"], "a"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2])):
        assert parse(CompletionRequest, {"model": "m", "prompt": prompt}).prompt == expected
    for several in (["a", "b"], [[1], [2]]):
        assert (
            refusal_of(CompletionRequest, {"model": "m", "prompt": several})["code"]
            == "unsupported_parameter"
        )
    for wrong in ([], [1, "a"], [-1], [True], 5, None):
        assert refusal_of(CompletionRequest, {"model": "m", "prompt": wrong})["code"] == "invalid_value"


def test_completions_default_to_sixteen_tokens_as_openai_does() -> None:
    assert parse(CompletionRequest, {"model": "m", "prompt": "a"}).token_limit == 16


def test_prompts_are_not_scored() -> None:
    body = {"model": "m", "prompt": "a", "echo": True, "logprobs": 1}
    assert refusal_of(CompletionRequest, body)["code"] == "unsupported_parameter"


def test_embedding_inputs_become_a_list() -> None:
    for given, expected in (
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
    ):
        assert parse(EmbeddingRequest, {"model": "m", "input": given}).input == expected
    for wrong in ("", [], [""], [[]], [1, "a"], ["a"] * 2049):
        assert refusal_of(EmbeddingRequest, {"model": "m", "input": wrong})["param"].startswith("input")
    assert (
        refusal_of(EmbeddingRequest, {"model": "m", "input": "a", "dimensions": 0})["param"] == "dimensions"
    )


def test_predictions_name_exactly_one_model() -> None:
    assert parse(PredictionRequest, {"version": "a/b:2", "input": {"text": "x"}}).name == "a/b:2"
    for body in ({"input": {"text": "x"}}, {"model": "a", "version": "b", "input": {"text": "x"}}):
        assert refusal_of(PredictionRequest, body)["code"] == "invalid_value"


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\t"])
def test_base64_may_be_broken_into_lines(end: str) -> None:
    raw = bytes(range(256))
    broken = end.join(textwrap.wrap(base64.b64encode(raw).decode(), 76)) + end
    for text in (broken, f"data:image/png;base64,{broken}", f"{end}data:image/png;base64,{end}{broken}"):
        assert parse(ImageInput, {"image": text}).items() == [raw]
    with pytest.raises(InvalidRequest, match="not valid base64"):
        parse(ImageInput, {"image": broken.replace(end, "!")}).items()


def test_images_are_data_urls_or_base64_and_never_fetched() -> None:
    assert parse(ImageInput, {"image": "data:image/png;base64,aGk="}).items() == [b"hi"]
    assert parse(ImageInput, {"image": ["aGk=", "aG8="]}).items() == [b"hi", b"ho"]
    for wrong in ("http://127.0.0.1/x.png", "a,b", "%%%", ""):
        with pytest.raises(InvalidRequest):
            parse(ImageInput, {"image": wrong}).items()
