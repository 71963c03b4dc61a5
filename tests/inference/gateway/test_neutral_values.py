"""A parameter that asks for what happens anyway is accepted: on every endpoint, each that OpenAI has."""

from typing import Any

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams

from inference.gateway.errors import CallError
from inference.gateway.schemas import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    PredictionRequest,
    parse,
)

BODIES: dict[Any, dict[str, Any]] = {
    ChatRequest: {"model": "acme/tiny", "messages": [{"role": "user", "content": "Hello"}]},
    CompletionRequest: {"model": "acme/tiny", "prompt": "Hello"},
    EmbeddingRequest: {"model": "acme/tiny", "input": "Hello"},
    PredictionRequest: {"model": "acme/tiny", "input": {"text": "Hello"}},
}
GENERATION: dict[str, list[Any]] = {
    "frequency_penalty": [0, 0.0], "logit_bias": [{}], "n": [1], "presence_penalty": [0, 0.0], "seed": [7],
    "stop": [[]], "stream": [False], "stream_options": [{}, {"include_usage": False}], "temperature": [1, 1.0],
    "top_p": [1, 1.0], "user": ["u-1", ""],
}  # fmt: skip
NEUTRAL: dict[Any, dict[str, list[Any]]] = {
    ChatRequest: GENERATION | {
        "audio": [], "function_call": ["none", "auto"], "functions": [[]], "logprobs": [False], "max_tokens": [16],
        "max_completion_tokens": [16], "metadata": [{}, {"a": "b"}], "modalities": [["text"]], "moderation": [],
        "parallel_tool_calls": [True, False], "prediction": [], "prompt_cache_key": ["k"], "prompt_cache_options": [{}],
        "prompt_cache_retention": ["24h", "in_memory"], "reasoning_effort": ["none"],
        "response_format": [{"type": "text"}], "safety_identifier": ["s"], "service_tier": ["auto", "default"],
        "store": [True, False], "tool_choice": ["none", "auto"], "tools": [[]], "top_logprobs": [0],
        "verbosity": ["medium"], "web_search_options": [],
    },
    CompletionRequest: GENERATION | {
        "best_of": [1], "echo": [False], "logprobs": [], "max_tokens": [16], "suffix": [""],
    },
    EmbeddingRequest: {"dimensions": [32], "encoding_format": ["float", "base64"], "user": ["u-1"]},
    PredictionRequest: {"stream": [False], "webhook": [], "webhook_events_filter": [[]], "version": []},
}  # fmt: skip
VLLM: dict[str, Any] = {
    "min_p": 0, "min_tokens": 0, "ignore_eos": False, "skip_special_tokens": True, "repetition_penalty": 1.0,
    "top_k": -1, "stop_token_ids": [], "length_penalty": 1.0, "use_beam_search": False,
}  # fmt: skip
CASES = [
    (schema, name, value)
    for schema, parameters in NEUTRAL.items()
    for name, values in parameters.items()
    for value in [None, *values]
]


@pytest.mark.parametrize(("schema", "name", "value"), CASES)
def test_a_value_that_changes_nothing_is_accepted(schema: Any, name: str, value: Any) -> None:
    assert parse(schema, BODIES[schema] | {name: value}).model == "acme/tiny"


@pytest.mark.parametrize(
    ("schema", "typed"),
    [
        (ChatRequest, ChatParams),
        (CompletionRequest, CompletionParams),
        (EmbeddingRequest, EmbeddingCreateParams),
    ],
)
def test_the_table_has_every_parameter_of_the_stock_client(schema: Any, typed: Any) -> None:
    assert typed.__annotations__.keys() - BODIES[schema].keys() == NEUTRAL[schema].keys() - {"stream"}


@pytest.mark.parametrize("schema", [ChatRequest, CompletionRequest])
@pytest.mark.parametrize(("name", "value"), VLLM.items())
def test_extras_of_other_servers_are_accepted_where_they_change_nothing(
    schema: Any, name: str, value: Any
) -> None:
    assert parse(schema, BODIES[schema] | {name: value}).model == "acme/tiny"
    if name in schema.harmless:
        with pytest.raises(CallError, match="is not supported here"):
            parse(schema, BODIES[schema] | {name: "something else"})


def test_both_names_of_one_token_limit_are_accepted() -> None:
    asked = parse(ChatRequest, BODIES[ChatRequest] | {"max_tokens": 5, "max_completion_tokens": 5})
    assert asked.token_limit == 5
