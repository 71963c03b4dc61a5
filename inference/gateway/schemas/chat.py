"""The body of POST /v1/chat/completions."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from inference.gateway.schemas.parsing import RequestBody, unsupported
from inference.gateway.schemas.sampling import SamplingBody

_TEXT_ONLY = "Only text can be sent to this model; the content part '{kind}' is not supported."


def _joined_text(value: Any) -> Any:
    """Text parts become one string, a line each; parts of other kinds cannot be honoured."""
    if not isinstance(value, list):
        return value
    texts: list[str] = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image_url", "input_audio", "file", "refusal"):
            raise unsupported(_TEXT_ONLY.format(kind=kind))
        if kind != "text" or not isinstance(part.get("text"), str):
            raise PydanticCustomError(
                "content_part", 'expected parts such as {{"type": "text", "text": "..."}}'
            )
        texts.append(part["text"])
    return "\n".join(texts)


class Message(RequestBody):
    """One turn. `developer` is what OpenAI now calls `system`; chat templates know the older word."""

    harmless = {"audio": (), "function_call": (), "refusal": (), "tool_calls": ([],), "tool_call_id": ()}

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_joined_text)]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _only_what_we_honour(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("role") in ("tool", "function"):
            raise unsupported(f"Messages of role '{value['role']}' are not supported: tools are not.")
        for name, same in cls.harmless.items():
            if value.get(name) is not None and value[name] not in same:
                raise unsupported(f"'{name}' in a message is not supported.")
        return {name: given for name, given in value.items() if name not in cls.harmless}

    def for_template(self) -> dict[str, str]:
        """As a chat template sees it."""
        role = "system" if self.role == "developer" else self.role
        message = {"role": role, "content": self.content}
        return message if self.name is None else message | {"name": self.name}


class ChatRequest(SamplingBody):
    """`max_completion_tokens` is the newer name of `max_tokens`."""

    harmless = {
        "audio": (), "function_call": ("none",), "functions": ([],), "modalities": (["text"],), "moderation": (),
        "n": (1,), "prediction": (), "reasoning_effort": ("none",), "response_format": ({"type": "text"},),
        "service_tier": ("auto", "default"), "tool_choice": ("none", "auto"), "tools": ([],), "verbosity": ("medium",),
        "web_search_options": (),
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
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError(
                "top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is true"
            )
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise PydanticCustomError(
                "max_tokens", "'max_tokens' and 'max_completion_tokens' cannot be set at the same time"
            )
        return self

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to report beside each chosen token; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None
