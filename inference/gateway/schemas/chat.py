"""The body of POST /v1/chat/completions."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from inference.gateway.schemas.messages import Message
from inference.gateway.schemas.parsing import invalid
from inference.gateway.schemas.sampling import SamplingBody


class ChatRequest(SamplingBody):
    """`max_completion_tokens` is the newer name of `max_tokens`."""

    harmless = {
        **SamplingBody.harmless,
        "audio": (), "function_call": ("none", "auto"), "functions": ([],), "modalities": (["text"],), "moderation": (),
        "n": (1,), "prediction": (), "reasoning_effort": ("none",), "response_format": ({"type": "text"},),
        "service_tier": ("auto", "default"), "tool_choice": ("none", "auto"), "tools": ([],), "verbosity": ("medium",),
        "web_search_options": (),
        # Of vLLM and of others that speak this protocol.
        "add_generation_prompt": (True,), "chat_template": (), "chat_template_kwargs": ({},),
        "continue_final_message": (False,), "documents": ([],), "echo": (False,), "include_reasoning": (True,),
        "reasoning": ({},),
    }  # fmt: skip

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    # Bookkeeping of OpenAI's own platform: accepted, and without effect on the result.
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: str | None = None
    store: bool | None = None

    @model_validator(mode="after")
    def _belongs_together(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise invalid("It is only allowed when 'logprobs' is true.", param="top_logprobs")
        newer = self.max_completion_tokens
        if self.max_tokens is not None and newer is not None and self.max_tokens != newer:
            reason = (
                f"'max_tokens' and 'max_completion_tokens' cannot be set at the same time, to {self.max_tokens} and "
                f"{newer}. Send one of them."
            )
            raise invalid(reason, param="max_tokens")
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def token_limit_name(self) -> str:
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to report beside each chosen token; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None
