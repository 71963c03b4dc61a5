"""Sampling parameters that chat and legacy completions share, with OpenAI's ranges and defaults."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from inference.gateway.schemas.parsing import RequestBody

Name = Annotated[str, Field(min_length=1, max_length=200)]
_SEED_LIMIT = 2**63


def _listed(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]], BeforeValidator(_listed), Field(max_length=4)
]


class StreamOptions(RequestBody):
    """Obfuscation pads chunks against traffic analysis; leaving it out does not change the result."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(RequestBody):
    """What both endpoints take. `top_k` and `repetition_penalty` are extras with their usual meaning."""

    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    # Less than a hundredth would make numbers too large for the model's.
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]] | None = None
    seed: Annotated[int, Field(ge=-_SEED_LIMIT, le=_SEED_LIMIT - 1)] | None = None
    stop: StopStrings = []
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None

    @field_validator("logit_bias")
    @classmethod
    def _keys_are_token_ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for key in value or {}:
            if not (key.isascii() and key.isdecimal() and len(key) <= 10):
                raise PydanticCustomError("token_id", "{key} is not a token id", {"key": repr(key)})
        return value

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> "SamplingBody":
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError(
                "stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled"
            )
        return self

    @property
    def wants_usage_chunk(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, *, max_tokens: int, logprobs: int | None) -> dict[str, Any]:
        """The fields of `engines.base.Sampling`, defaults left out."""
        chosen: dict[str, Any] = {
            "temperature": self.temperature, "top_p": self.top_p, "top_k": max(0, self.top_k or 0) or None,
            "seed": self.seed, "frequency_penalty": self.frequency_penalty, "presence_penalty": self.presence_penalty,
            "repetition_penalty": self.repetition_penalty, "logprobs": logprobs,
        }  # fmt: skip
        fields = {name: value for name, value in chosen.items() if value is not None}
        if self.stop:
            fields["stop"] = self.stop
        if self.logit_bias:
            fields["logit_bias"] = {int(key): value for key, value in self.logit_bias.items()}
        return fields | {"max_tokens": max_tokens}
