"""The request to a provider's server, and the most that it can use.

Nobody has that server's tokenizer here, so the input is bounded instead of counted: every tokenizer in use
takes at least a byte of text for a token, and a chat template adds a few tokens for each message and for the
whole. Neither can a prompt exceed the context. What is reported beyond this bound (a server may add a long
prompt of its own) is the provider's loss, as is everything beyond a hold; `counting` says what else is. A prompt is refused here only if no
tokenizer could fit it into the context; the server refuses the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from inference.gateway.errors import ContextLengthExceeded, InputTooLong, InvalidRequest, UnsupportedParameter
from inference.gateway.lookup import Route
from inference.gateway.remote import limits
from inference.gateway.remote.counting import LONGEST_TOKEN_BYTES, MARGIN, USUAL_TOKEN_BYTES, Bounds
from inference.gateway.schemas import ChatRequest, CompletionRequest, EmbeddingRequest

MESSAGE_TOKENS, PROMPT_TOKENS = 16, 64
# What templates usually add to a message, and models of embeddings to a text.
USUAL_MESSAGE_TOKENS, ITEM_TOKENS = 8, 4
# Ends of turns and of thoughts, which leave no text.
UNRETURNED_TOKENS = 8

Kind = Literal["chat", "completions", "embeddings"]
_PASSED_ON = (
    "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty",
    "logit_bias",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWork:
    """`body` is JSON. `most_bytes` of answer are read; `items` is how many vectors are due, of so many `dimensions` where
    these were asked for, and `logprobs` how many alternatives to each token, None where nothing was asked of them.
    """

    kind: Kind
    streamed: bool
    body: bytes
    bounds: Bounds
    most_bytes: int
    items: int = 1
    dimensions: int | None = None
    logprobs: int | None = None

    @property
    def worst(self) -> Mapping[str, int]:
        """The most that the call can use, by meter."""
        return self.bounds.worst

    @property
    def path(self) -> str:
        return "chat/completions" if self.kind == "chat" else self.kind


def chat(route: Route, asked: ChatRequest) -> RemoteWork:
    """Raises `ContextLengthExceeded` or `InvalidRequest`."""
    messages = [message.for_server() for message in asked.messages]
    size = sum(
        len(message["content"].encode()) + len(message.get("name", "").encode()) for message in messages
    )
    more: dict[str, Any] = {"messages": messages}
    if asked.logprobs:
        more |= {"logprobs": True, "top_logprobs": asked.top_logprobs or 0}
    overhead = PROMPT_TOKENS + MESSAGE_TOKENS * len(messages)
    return _generate(
        route,
        asked,
        kind="chat",
        size=size,
        overhead=overhead,
        more=more,
        what="messages",
        logprobs=asked.alternatives,
    )


def complete(route: Route, asked: CompletionRequest) -> RemoteWork:
    """Raises `ContextLengthExceeded`, `InvalidRequest` or `UnsupportedParameter`."""
    prompt = asked.prompt
    if asked.echo and not isinstance(prompt, str):
        raise UnsupportedParameter(
            "echo", reason="'echo' of token ids is not supported by this model. Send the prompt as text."
        )
    size = len(prompt.encode()) if isinstance(prompt, str) else len(prompt)
    more: dict[str, Any] = {"prompt": prompt}
    if asked.logprobs is not None:
        more["logprobs"] = asked.logprobs
    return _generate(
        route, asked, kind="completions", size=size, overhead=PROMPT_TOKENS, more=more,
        what="prompt", logprobs=asked.logprobs, exact=not isinstance(prompt, str),
    )  # fmt: skip


def embed(route: Route, asked: EmbeddingRequest) -> RemoteWork:
    """Raises `InputTooLong`."""
    assert route.endpoint is not None
    sizes = [len(item.encode()) if isinstance(item, str) else len(item) for item in asked.input]
    least = [
        _least(size, exact=not isinstance(item, str)) for size, item in zip(sizes, asked.input, strict=True)
    ]
    for index, tokens in enumerate(least):
        if tokens > route.context_length:
            raise InputTooLong(limit=route.context_length, index=index, prompt=tokens, param="input")
    body: dict[str, Any] = {
        "model": route.endpoint.model, "input": asked.input, "encoding_format": asked.encoding_format or "float",
    }  # fmt: skip
    if asked.dimensions is not None:
        body["dimensions"] = asked.dimensions
    worst = sum(min(size + MESSAGE_TOKENS, route.context_length) for size in sizes)
    usual, likely = 0, MESSAGE_TOKENS
    for size, item in zip(sizes, asked.input, strict=True):
        tokens = size // USUAL_TOKEN_BYTES + 1 if isinstance(item, str) else size
        usual += tokens
        likely += (MARGIN * tokens if isinstance(item, str) else tokens) + ITEM_TOKENS
    bounds = Bounds(
        worst={"input_tokens": worst, "cached_tokens": worst}, usual_input=min(usual, worst), likely_input=likely,
        least_input=max(1, sum(least)),
    )  # fmt: skip
    return RemoteWork(
        kind="embeddings", streamed=False, body=orjson.dumps(body), bounds=bounds, items=len(sizes),
        most_bytes=limits.of_embeddings(len(sizes)), dimensions=asked.dimensions,
    )  # fmt: skip


def _generate(
    route: Route, asked: ChatRequest | CompletionRequest, *, kind: Kind, size: int, overhead: int,
    more: dict[str, Any], what: str, logprobs: int | None, exact: bool = False,
) -> RemoteWork:  # fmt: skip
    """`size` in bytes, or in tokens where they are `exact`; `overhead` in tokens."""
    assert route.endpoint is not None
    if size < 1:
        raise InvalidRequest(f"'{what}' comes to no tokens. Send some text.", param=what)
    least = _least(size, exact=exact)
    usual = size if exact else size // USUAL_TOKEN_BYTES + overhead // 4 + 1
    longest = min(size + overhead, route.context_length)
    max_tokens = _limit(route, asked, least=least, usual=usual, longest=longest, what=what)
    body = {"model": route.endpoint.model, **more, "max_tokens": max_tokens}
    for name in _PASSED_ON:
        value = getattr(asked, name)
        if value is not None:
            body[name] = value
    if asked.stop:
        body["stop"] = asked.stop
    if asked.stream:
        # Whatever the caller wants to see of it: usage is what is billed.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    # Half of what is held for them; and the whole of what goes before the first.
    likely = overhead * USUAL_MESSAGE_TOKENS // MESSAGE_TOKENS + PROMPT_TOKENS // 2
    stop_bytes = max((len(text.encode()) for text in asked.stop), default=0)
    bounds = Bounds(
        worst={"input_tokens": longest, "cached_tokens": longest, "output_tokens": max_tokens},
        usual_input=min(usual, longest), least_input=max(1, least),
        likely_input=(size if exact else MARGIN * (size // USUAL_TOKEN_BYTES + 1)) + likely,
        # The server takes a stop string off the answer that it ended.
        unreturned=UNRETURNED_TOKENS + MARGIN * -(-stop_bytes // USUAL_TOKEN_BYTES),
        hidden_reasoning=route.endpoint.hidden_reasoning_tokens, text_bytes=limits.text_bytes(max_tokens),
    )  # fmt: skip
    streamed = bool(asked.stream)
    return RemoteWork(
        kind=kind, streamed=streamed, body=orjson.dumps(body), bounds=bounds, logprobs=logprobs,
        most_bytes=limits.of_generation(max_tokens, logprobs=logprobs, streamed=streamed),
    )  # fmt: skip


def _limit(
    route: Route, asked: ChatRequest | CompletionRequest, *, least: int, usual: int, longest: int, what: str
) -> int:
    """The `max_tokens` to send. Without a wish: as much as surely fits, or else as usually does."""
    assert route.endpoint is not None
    wanted, limited_by = asked.token_limit, asked.token_limit_name
    most, context = route.endpoint.max_output_tokens, route.context_length
    if wanted is not None and wanted > most:
        reason = f"{limited_by} is too large: {wanted}. This model writes at most {most} tokens in an answer."
        raise InvalidRequest(reason, param=limited_by)
    needed = wanted or 1
    if least + needed > context:
        raise ContextLengthExceeded(
            limit=context, prompt=least, completion=needed, what=what, wanted_by=limited_by
        )
    if wanted is not None:
        return wanted
    return min(most, max(1, context - longest, context - usual if longest + most > context else 0))


def _least(size: int, *, exact: bool) -> int:
    return size if exact else -(-size // LONGEST_TOKEN_BYTES)
