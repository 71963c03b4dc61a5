"""The body of POST /v1/completions, OpenAI's legacy endpoint."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from inference.gateway.schemas.parsing import invalid, unsupported
from inference.gateway.schemas.sampling import SamplingBody

DEFAULT_MAX_TOKENS = 16
_ONE_PROMPT = "Send one prompt in a call; several prompts in one call are not supported."


def _one_prompt(value: Any) -> Any:
    """A string or a list of token ids; a list of exactly one such prompt is that prompt."""
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        if len(value) > 1:
            raise unsupported(_ONE_PROMPT)
        value = value[0]
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or any(type(item) is not int or item < 0 for item in value):
        raise invalid("Expected a string or an array of token ids.")
    return value


class CompletionRequest(SamplingBody):
    """`prompt` is text or token ids. `logprobs` is the number of alternatives, 0 to 5."""

    harmless = {**SamplingBody.harmless, "best_of": (1,), "n": (1,), "suffix": ("",)}

    prompt: Annotated[str | list[int], BeforeValidator(_one_prompt)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None

    @model_validator(mode="after")
    def _no_log_probabilities_of_the_prompt(self) -> "CompletionRequest":
        if self.echo and self.logprobs is not None:
            reason = "'echo' together with 'logprobs' is not supported: prompts are not scored."
            raise unsupported(reason, param="echo")
        return self

    @property
    def token_limit(self) -> int:
        return self.max_tokens or DEFAULT_MAX_TOKENS

    @property
    def token_limit_name(self) -> str:
        return "max_tokens"
