"""What every engine is: load a version, take requests, emit chunks. No Django here.

An engine runs on one device and hosts one version. `submit` never blocks on the model: the engine's
own thread runs it and hands results to a `Sink`. Requests carry token ids: the gateway has already
rendered templates and tokenised, so that holds are exact and refusals are immediate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Task = Literal["text-generation", "feature-extraction", "text-classification", "image-classification"]
FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The validated facts about a version that an engine needs. Sizes in bytes, lengths in tokens."""

    task: Task
    architecture: str
    context_length: int
    weight_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to choose tokens; the ranges are the gateway's to check, with OpenAI's meaning and defaults.

    `temperature` 0 is greedy. `top_k` 0 is off. `logprobs` None is off, else the number of alternatives
    (0 to 20) reported beside each chosen token. `end_ids` end the answer beside the model's own ends, and
    `fresh` says that its text stands for itself, without the space that would part it from the prompt's.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    end_ids: tuple[int, ...] = ()
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """One sequence to continue. `id` is ours, never the client's.

    Computed prefixes are shared within one `cache_scope` only: what a stranger's prompt cost, and so what it
    began with, must not show in the time of an answer. Set it to who may know of each other's prompts.
    Requests of several owners share the engine fairly.
    """

    id: str
    prompt_ids: Sequence[int]
    sampling: Sampling
    cache_scope: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Items for one forward pass each: token ids (texts) or encoded image bytes."""

    id: str
    items: Sequence[Sequence[int]] | Sequence[bytes]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""


Request = GenerateRequest | BatchRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprob:
    """A token's text, its exact bytes, its natural-log probability and its alternatives.

    `offset` is how many characters of the answer stand before it; None for an alternative.
    """

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple["TokenLogprob", ...] = ()
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of an answer. The last of a request has `finish_reason` and `usage` (meter name to units).

    `output` is for batch engines: JSON-like data, with float32 vectors as little-endian bytes.
    `error` says what went wrong, in words for the caller, when `finish_reason` is "error".
    """

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    output: Any = None
    finish_reason: FinishReason | None = None
    usage: Mapping[str, int] | None = None
    error: str | None = None


class Sink(Protocol):
    """Where chunks go. Called on the engine's thread, so it must not block."""

    def emit(self, request_id: str, chunk: Chunk) -> None: ...

    def flush(self) -> None:
        """Called once after each engine step, so that one step is one write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Requests an engine runs at once (`slots`) and those it holds now (`busy`, waiting ones included)."""

    slots: int
    busy: int


@dataclass(frozen=True, slots=True)
class Note:
    """What of a version's file has no effect, in a sentence for its provider."""

    file: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Counters since load, for the registry and metrics."""

    requests: int
    steps: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`failure` says what ended the engine's thread for good, once all that it held has been told. `step_seconds` is
    how long the step under way has lasted, 0 where there is none.
    """

    failure: str | None
    step_seconds: float


class Engine(Protocol):
    """One loaded version. `load` is the class's constructor-like entry, see `engines.registry.load`."""

    manifest: Manifest
    notes: tuple[Note, ...]

    @classmethod
    def load(cls, directory: Path, *, manifest: Manifest, device: str, sink: Sink) -> "Engine":
        """Read safetensors from `directory`. Raises `UnloadableVersion` with a sentence for the provider."""

    def submit(self, request: Request) -> None:
        """Queue a request. Raises `RequestRefused` if it can never run (too long, bad token id)."""

    def cancel(self, request_id: str) -> None:
        """Stop within a few steps; the sink still gets a last chunk, "cancelled", with what was used."""

    def capacity(self) -> Capacity: ...

    def stats(self) -> EngineStats: ...

    def health(self) -> Health:
        """Whether its thread still serves. Never blocks, whatever that thread does."""

    def close(self, *, drain: bool, timeout: float) -> None:
        """Stop the thread and free memory; with `drain`, first finish what is in flight (seconds)."""


class UnloadableVersion(Exception):
    """The files cannot be loaded as the manifest says; the message is for the provider."""


class RequestRefused(Exception):
    """This request can never run on this engine; the message is for the caller."""


class EngineClosing(RequestRefused):
    """This engine takes nothing any more. Nothing is wrong with the request; elsewhere it may run."""
