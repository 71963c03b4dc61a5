"""Sampling parameters that chat and legacy completions share, with OpenAI's ranges and defaults."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from inference.gateway.schemas.parsing import RequestBody, invalid
from inference.gateway.schemas.wording import quote

Name = Annotated[str, Field(min_length=1, max_length=200)]
_SEED_LIMIT = 2**63


def _listed(value: Any) -> Any:
    if isinstance(value, list):
        return value
    if value is None:
        return []
    if not isinstance(value, str):
        raise invalid("Expected a string, or an array of at most 4 strings.")
    return [value]


StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=1000)]], BeforeValidator(_listed), Field(max_length=4)
]


class StreamOptions(RequestBody):
    """Obfuscation pads chunks against traffic analysis; leaving it out does not change the result."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(RequestBody):
    """What both endpoints take. `top_k` and `repetition_penalty` are extras with their usual meaning."""

    # Extras of vLLM that we do not have.
    harmless = {
        "allowed_token_ids": ([],), "bad_words": ([],), "ignore_eos": (False,), "include_stop_str_in_output": (False,),
        "length_penalty": (1, 1.0), "min_p": (0, 0.0), "min_tokens": (0,), "priority": (0,), "prompt_logprobs": (),
        "skip_special_tokens": (True,), "spaces_between_special_tokens": (True,), "stop_token_ids": ([],),
        "use_beam_search": (False,),
    }  # fmt: skip

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
                raise invalid(f"{quote(key)} is no token id. Keys are token ids such as '50256'.")
        return value

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> "SamplingBody":
        if self.wants_usage_chunk and not self.stream:
            raise invalid("'include_usage' is only allowed when 'stream' is true.", param="stream_options")
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
